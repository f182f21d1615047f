//! The demo, as a newcomer runs it.

use crate::processes::files_with;
use crate::world::{Program, World, finish};

#[test]
fn the_demo_proves_what_it_says_and_leaves_nothing_behind() {
    let world = World::new();
    std::fs::create_dir(world.path("tmp")).unwrap();
    let mut command = world.command(Program::Bulla);
    let run = finish(command.env("TMPDIR", world.path("tmp")).args(["demo", "--output", "json"]), b"").ok();
    let report: serde_json::Value = serde_json::from_str(run.text()).unwrap();
    assert_eq!(report["ok"], true);
    let found = |run: usize| -> Vec<(String, bool)> {
        let places = report["runs"][run]["places"].as_array().unwrap().iter();
        places
            .map(|place| (place["place"].as_str().unwrap().to_owned(), !place["found"].as_array().unwrap().is_empty()))
            .collect()
    };
    let places = |found: [bool; 4]| {
        ["git", "disk", "environ", "argv"].map(str::to_owned).into_iter().zip(found).collect::<Vec<_>>()
    };
    assert_eq!(found(0), places([true; 4]), "the control finds them everywhere");
    assert_eq!(found(1), places([false; 4]), "exec-file: nowhere");
    assert_eq!(found(2), places([false, false, true, false]), "exec-env: in the program's environment");
    assert_eq!(std::fs::read_dir(world.path("tmp")).unwrap().count(), 0);
}

#[test]
fn the_demo_tells_the_commands_and_keeps_its_folder_on_demand() {
    let world = World::new();
    std::fs::create_dir(world.path("tmp")).unwrap();
    let mut command = world.command(Program::Bulla);
    let run = finish(command.env("TMPDIR", world.path("tmp")).args(["demo", "--keep"]), b"").ok();
    for command in [
        "$ bulla encrypt --in-place .env k8s/secret.yaml\n",
        "$ bulla exec-file .env -- sh app.sh {}\n",
        "$ git commit",
    ] {
        assert!(run.text().contains(command), "{command}");
    }
    assert!(!run.text().contains("kx7-Wm4tQ"), "the journey itself shows no secret");
    let kept = std::fs::read_dir(world.path("tmp")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(files_with(&kept, "kx7-Wm4tQ"), Vec::<String>::new());
    assert!(kept.join("shop/.git").is_dir());
}
