//! Data keys and their shares, exchanged with the real sops.

use bulla_kms::groups::{Services, unwrap_data_key, wrap_data_key};
use bulla_test_support::{SOPS, sops};
use tempfile::TempDir;

use crate::sops::{AgeKey, File, environment, registry};

const PLAIN: &str = "{\n\t\"password\": \"hunter2\"\n}\n";

/// A file that sops encrypted for three groups, two of which are needed: the second has two keys.
fn three_groups(version: &str, folder: &TempDir) -> ([AgeKey; 4], File) {
    let keys = [(); 4].map(|()| AgeKey::generate());
    let [a, b, c, d] = &keys;
    let config = format!(
        "creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n    - age: [{}]\n    - age: [{}, {}]\n    - age: [{}]\n",
        a.recipient, b.recipient, c.recipient, d.recipient
    );
    std::fs::write(folder.path().join(".sops.yaml"), config).unwrap();
    std::fs::write(folder.path().join("file.json"), PLAIN).unwrap();
    sops(version, folder.path(), &[], &["encrypt", "-i", "file.json"]).unwrap();
    let file = File::read(&folder.path().join("file.json"));
    (keys, file)
}

#[tokio::test]
async fn groups_that_sops_made_open_with_any_two_of_three() {
    for version in SOPS {
        let folder = TempDir::new().unwrap();
        let ([a, b, c, d], mut file) = three_groups(version, &folder);
        let groups = file.groups();
        let unwrap = async |keys: &[&AgeKey]| {
            let services = Services { remote: Vec::new(), local: Some(registry(keys, folder.path())) };
            unwrap_data_key(&services, &groups, Some(2), &[]).await
        };
        let key = unwrap(&[&a, &b, &c, &d]).await.unwrap();
        for pair in [[&a, &b], [&a, &c], [&a, &d], [&b, &d], [&c, &d]] {
            assert!(unwrap(&pair).await.unwrap() == key, "sops {version}");
        }
        for one_group in [&[&a][..], &[&b, &c], &[&d], &[]] {
            let error = unwrap(one_group).await.unwrap_err();
            assert_eq!((error.needed, error.opened), (2, one_group.len().min(1)), "sops {version}");
            // Each key that did not open says why.
            let silent = error.groups.iter().filter(|group| group.is_empty()).count();
            assert_eq!(silent, error.opened);
        }
    }
}

#[tokio::test]
async fn groups_that_we_made_open_in_sops_with_any_two_of_three() {
    for version in SOPS {
        let folder = TempDir::new().unwrap();
        let ([a, b, c, d], mut file) = three_groups(version, &folder);
        let all = Services { remote: Vec::new(), local: Some(registry(&[&a, &b, &c, &d], folder.path())) };
        // The data key stays, so the values and the MAC do; all shares are new.
        let groups = file.groups();
        let key = unwrap_data_key(&all, &groups, Some(2), &[]).await.unwrap();
        let ids: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(|(id, _)| id.clone()).collect()).collect();
        let wrapped = wrap_data_key(&all, &key, &ids, Some(2)).await.unwrap();
        file.rewrap(&wrapped);
        file.write(&folder.path().join("file.json"));

        let decrypt = |keys: &[&AgeKey]| {
            let env: Vec<_> = environment(keys, folder.path()).into_iter().collect();
            sops(version, folder.path(), &env, &["decrypt", "file.json"])
        };
        for pair in [[&a, &b], [&a, &c], [&a, &d], [&b, &d], [&c, &d]] {
            assert_eq!(decrypt(&pair).unwrap(), PLAIN, "sops {version}");
        }
        assert!(decrypt(&[&b, &c]).is_err());
    }
}
