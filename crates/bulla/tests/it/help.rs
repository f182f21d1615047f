//! What the program says about itself.

use crate::world::World;

#[test]
fn the_help_lists_every_command() {
    let world = World::new();
    let run = world.bulla(&["--help"]).ok();
    for command in
        ["encrypt", "decrypt", "edit", "set", "unset", "rotate", "updatekeys", "groups", "filestatus", "keyservice"]
    {
        assert!(run.text().contains(&format!("\n  {command} ")), "{command}\n{}", run.text());
        let help = world.bulla(&[command, "--help"]).ok();
        assert!(help.text().contains("Examples:"), "{command}");
    }
    assert!(!run.text().contains("publish"));
}

#[test]
fn version_and_unknown_commands() {
    let world = World::new();
    let run = world.bulla(&["version"]).ok();
    assert!(run.text().contains("compatible with sops 3."), "{}", run.text());
    world.bulla(&["nonsense"]).fails(1);
    world.bulla(&["decrypt", "--nonsense"]).fails(1);
}

#[test]
fn man_pages_and_completions_are_made_from_the_definition() {
    let world = World::new();
    assert!(world.bulla(&["man"]).ok().text().contains(".TH bulla"));
    assert!(world.bulla(&["man", "groups", "add"]).ok().text().contains("\\-\\-age"));
    world.bulla(&["man", "--output-dir", "man"]).ok();
    assert!(world.path("man/bulla-encrypt.1").exists());
    assert!(world.path("man/bulla-groups-add.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.bulla(&["completion", shell]).ok().text().contains("updatekeys"), "{shell}");
    }
}
