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

#[test]
fn what_lay_there_before_the_demo_is_not_taken_for_what_it_left_and_what_it_leaves_is_found() {
    let world = World::new();
    // As a downloaded binary has it, or a clone.
    let secret = "DB_PASSWORD=kx7-Wm4tQ-9vLp2-nbR6s\n";
    world.write("tmp/bulla", secret);
    let run = |path: &std::path::Path| {
        let mut command = world.command(Program::Bulla);
        let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
        command.env("TMPDIR", world.path("tmp")).env("PATH", path);
        finish(command.args(["demo", "--output", "json"]), b"")
    };
    run(&world.path("no")).ok();
    // A shell that leaves the password behind, deep down and with an old date.
    let leak = format!("d=$TMPDIR/a/b/c/d; mkdir -p $d; echo '{}' >$d/x; touch -d '1 hour ago' $d/x", secret.trim());
    world.write("bin/sh", format!("#!/bin/sh\ncase $1 in app.sh) {leak};; esac\nexec /bin/sh \"$@\"\n"));
    std::fs::set_permissions(world.path("bin/sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let leaky = run(&world.path("bin"));
    assert_eq!(leaky.code, 1, "{}", leaky.stderr);
    assert!(leaky.text().contains("DB_PASSWORD in "), "{}", leaky.text());
}
