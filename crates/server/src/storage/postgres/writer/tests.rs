//! Which batches go together.

use std::time::Duration;

use super::*;

fn job(conditions: &[(&str, usize)], writes: &[(&str, usize)]) -> Job {
    let entries =
        |of: &[(&str, usize)]| of.iter().map(|(key, size)| ((*key).to_owned(), Some(vec![0; *size]))).collect();
    let batch = Batch { conditions: entries(conditions), writes: entries(writes) };
    Job { batch, answer: oneshot::channel().0, deadline: Instant::now() + Duration::from_mins(1) }
}

#[test]
fn a_group_has_no_more_bytes_than_it_may_and_what_is_compared_counts() {
    let mut group = Group::default();
    // Alone, whatever it has: it has to go somehow.
    assert!(group.add(job(&[], &[("a", GROUP_BYTES + 1)])).is_none());
    assert!(group.add(job(&[], &[("b", 0)])).is_some());
    for (conditions, writes) in [(&[("c", GROUP_BYTES / 2)][..], &[][..]), (&[], &[("d", GROUP_BYTES / 2)])] {
        let mut group = Group::default();
        assert!(group.add(job(&[("a", GROUP_BYTES / 2)], &[("a", 1)])).is_none());
        assert!(group.add(job(conditions, writes)).is_some());
        assert!(group.add(job(&[("e", 1)], &[("f", 1)])).is_none(), "what is small goes along");
    }
}

#[test]
fn what_a_batch_of_the_group_writes_waits() {
    let mut group = Group::default();
    assert!(group.add(job(&[], &[("a", 1)])).is_none());
    assert!(group.add(job(&[("a", 1)], &[("b", 1)])).is_some());
    assert!(group.add(job(&[], &[("a", 1)])).is_some());
    assert!(group.add(job(&[], &[("b", 1)])).is_none());
}
