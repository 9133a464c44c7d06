//! `millpond config`: the file that is told is the file that is read.

use serde_json::json;

use crate::workstation::Workstation;

#[test]
fn the_path_that_is_told_is_the_one_that_commands_read() {
    let workstation = Workstation::new();
    let told = workstation.run(&["config", "path"]).json();
    assert_eq!(told["exists"], json!(false));
    let path = std::path::Path::new(told["path"].as_str().unwrap());
    assert_eq!(path, workstation.home().join("config.toml"));
    assert!(!workstation.home().exists(), "telling the path made a home");

    // What lies there is what decides a tenant.
    workstation
        .run(&["init", "--tenant", "acme", "--user", "ada@acme.dev"])
        .json();
    std::fs::write(path, "[tenants]\n\"/\" = \"umbra\"\n").unwrap();
    assert_eq!(
        workstation.run(&["config", "path"]).json()["exists"],
        json!(true)
    );
    let ran = workstation.run(&["metrics"]);
    assert!(ran.stdout.contains("umbra"), "{}", ran.stdout);
}

#[test]
fn a_configuration_is_valid_missing_or_told_with_exit_code_78() {
    let workstation = Workstation::new();
    let path = workstation.home().join("config.toml");
    let validate = || workstation.run(&["config", "validate"]);
    let missing = validate().json();
    assert_eq!(
        (&missing["exists"], &missing["tenants"]),
        (&json!(false), &json!(0))
    );
    std::fs::create_dir(workstation.home()).unwrap();
    std::fs::write(&path, "[tenants]\n\"/w\" = \"acme\"\n\"~/x\" = \"umbra\"\n").unwrap();
    let valid = validate().json();
    assert_eq!(
        (&valid["exists"], &valid["tenants"]),
        (&json!(true), &json!(2))
    );
    for bad in [
        "tenants = 1",
        "[tenant]",
        "[tenants]\n\"w\" = \"acme\"",
        "[tenants]\n\"/w\" = \"../x\"",
        "[tenants",
    ] {
        std::fs::write(&path, bad).unwrap();
        assert_eq!(validate().refused(78), "configuration", "{bad}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(validate().refused(78), "configuration");
}
