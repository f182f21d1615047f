//! `--merge-into`: values go into a file that keeps everything else.

use crate::seal::{SECRET, Who, bulla, kubeseal, shape, world};
use crate::world::World;

const NEW: &str =
    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: whatever\nstringData:\n  password: changed\n  added: value\n";
const OPEN: &str = "--recovery-unseal --recovery-private-key key.pem";

fn target(world: &World, flags: &str) -> String {
    let text = bulla(world, &format!("seal --cert cert.pem {flags}"), SECRET).ok().text().to_owned();
    let text = text.replacen("    user:", "    # Who.\n    user:", 1);
    world.write("sealed.yaml", &text);
    text
}

#[test]
fn only_the_new_values_lines_change_and_the_peer_opens_all() {
    let world = world();
    let before = target(&world, "");
    kubeseal(&world, Who::Ours, "--cert cert.pem --merge-into sealed.yaml", NEW).ok();
    let after = world.read("sealed.yaml");
    let changed: Vec<_> = after
        .lines()
        .filter(|line| !before.contains(line))
        .map(|line| line.trim().split(':').next().unwrap())
        .collect();
    assert_eq!(changed, ["password", "added"]);
    assert!(after.contains("# Who."));
    let opened = kubeseal(&world, Who::Theirs, OPEN, &after).ok();
    let data = shape(opened.text())["data"].clone();
    assert_eq!(
        (&data["password"], &data["added"], &data["user"]),
        (&"Y2hhbmdlZA==".into(), &"dmFsdWU=".into(), &"YWRtaW4=".into())
    );
}

#[test]
fn the_peers_merge_and_ours_mean_the_same() {
    let worlds = [(Who::Theirs, world()), (Who::Ours, world())];
    let [theirs, ours] = worlds.map(|(who, world)| {
        kubeseal(&world, Who::Theirs, "--cert cert.pem -w sealed.yaml -o yaml", SECRET).ok();
        let labelled = NEW.replace("name: whatever", "name: whatever\n  labels: {tier: back}\n  annotations: {by: me}");
        kubeseal(&world, who, "--cert cert.pem -o yaml --merge-into sealed.yaml", &labelled).ok();
        world.read("sealed.yaml")
    });
    assert_eq!(shape(&ours), shape(&theirs));
}

#[test]
fn the_target_s_scope_holds_for_what_is_merged() {
    let world = world();
    // The peer seals for the scope of the input, and the value does not open beside the others.
    target(&world, "--scope cluster-wide");
    kubeseal(&world, Who::Ours, "--cert cert.pem --merge-into sealed.yaml", NEW).ok();
    kubeseal(&world, Who::Theirs, OPEN, &world.read("sealed.yaml")).ok();
    target(&world, "--scope cluster-wide");
    kubeseal(&world, Who::Theirs, "--cert cert.pem --merge-into sealed.yaml", NEW).ok();
    assert_eq!(kubeseal(&world, Who::Theirs, OPEN, &world.read("sealed.yaml")).code, 1, "the peer's bug");

    let before = target(&world, "");
    let run = bulla(&world, "seal --cert cert.pem --scope cluster-wide --merge-into sealed.yaml", NEW).fails(8);
    assert!(run.stderr.contains("has strict scope"), "{}", run.stderr);
    let annotated =
        NEW.replace("name: whatever", "name: x\n  annotations: {sealedsecrets.bitnami.com/cluster-wide: \"true\"}");
    bulla(&world, "seal --cert cert.pem --merge-into sealed.yaml", &annotated).fails(8);
    assert_eq!(world.read("sealed.yaml"), before);
}

#[test]
fn a_target_without_items_is_filled_where_the_peer_panics() {
    let empty = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: db, namespace: shop}\n";
    for spec in [
        "",
        "spec: {}\n",
        "spec:\n  encryptedData: {}\n",
        "spec:\n  encryptedData: null\n",
        "spec:\n  template: {type: Opaque}\n",
    ] {
        let world = world();
        world.write("sealed.yaml", format!("{empty}{spec}"));
        let input = NEW.replace("name: whatever", "name: whatever\n  labels: {a: b}\n  annotations: {c: d}");
        kubeseal(&world, Who::Ours, "--cert cert.pem --merge-into sealed.yaml", &input).ok();
        let opened = kubeseal(&world, Who::Theirs, OPEN, &world.read("sealed.yaml")).ok();
        let secret = shape(opened.text());
        assert_eq!(secret["data"]["added"], "dmFsdWU=", "{spec}");
        assert_eq!(
            (&secret["metadata"]["labels"]["a"], &secret["metadata"]["annotations"]["c"]),
            (&"b".into(), &"d".into()),
            "{spec}"
        );
    }
    let world = world();
    world.write("sealed.yaml", format!("{empty}spec: {{}}\n"));
    assert_eq!(kubeseal(&world, Who::Theirs, "--cert cert.pem --merge-into sealed.yaml", NEW).code, 2, "a Go panic");
}

#[test]
fn two_merges_at_once_lose_nothing() {
    let world = world();
    target(&world, "");
    std::thread::scope(|scope| {
        for n in 0..6 {
            let world = &world;
            scope.spawn(move || {
                let input =
                    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\nstringData: {{item{n}: v}}\n");
                bulla(world, "seal --cert cert.pem --merge-into sealed.yaml", &input).ok();
            });
        }
    });
    let text = world.read("sealed.yaml");
    assert!((0..6).all(|n| text.contains(&format!("item{n}:"))), "{text}");
}

#[test]
fn what_is_merged_is_checked_by_reading_it_again() {
    let world = world();
    let target = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: &m {name: db, namespace: shop}\nspec:\n  encryptedData: &e\n    a: AgA=\n  template:\n    metadata: *m\n    data: *e\n";
    world.write("sealed.yaml", target);
    // The template's data would get the values too.
    let run = bulla(&world, "seal --cert cert.pem --merge-into sealed.yaml", NEW).fails(4);
    assert!(run.stderr.contains("aliases"), "{}", run.stderr);
    assert_eq!(world.read("sealed.yaml"), target);
}
