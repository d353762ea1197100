//! The recipes are what stands in the examples.

use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn recipe(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_clerk-gate"))
        .arg("recipe")
        .args(arguments)
        .current_dir(Path::new(ROOT).join("examples/gateways"))
        .env_clear()
        .output()
        .unwrap()
}

/// `UPDATE=1 cargo test` writes down what is said now.
#[test]
fn the_examples_are_what_the_recipes_print() {
    let mut count = 0;
    for (server, file) in [
        ("nginx", "nginx/clerk-gate.conf"),
        ("traefik", "traefik/clerk-gate.yml"),
        ("caddy", "caddy/Caddyfile"),
        ("haproxy", "haproxy/haproxy.cfg"),
        ("haproxy-lua", "haproxy/clerk-gate.lua"),
        ("envoy", "envoy/envoy.yaml"),
        ("envoy-grpc", "envoy/envoy-grpc.yaml"),
        ("kubernetes", "kubernetes/application.yaml"),
    ] {
        let said = recipe(&[server, "-c", "clerk-gate.toml"]);
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{server}: {error}");
        let text = String::from_utf8(said.stdout).unwrap();
        let path = Path::new(ROOT).join("examples").join(file);
        if option_env!("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let example = std::fs::read_to_string(&path).unwrap();
        assert_eq!(example, text, "{server}");
        // Whatever the gate may set is in it, where the gateway does not hear that with each answer.
        if !["haproxy", "kubernetes", "envoy-grpc"].contains(&server) {
            let lower = text.to_lowercase();
            for name in ["x-user-id", "remote-user", "x-clerk-gate-assertion"] {
                assert!(lower.contains(name), "{server}: {name}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 8);
}

/// What is printed for a pod with this beside the usual configuration, and without doors.
fn pod(more: &str) -> String {
    let path = crate::support::program::file(
        &format!("pod-{}.toml", more.len()),
        &format!(
            "clerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\nlisten = \"0.0.0.0:8888\"\n\
             upstream.url = \"http://127.0.0.1:5000\"\n{more}"
        ),
    );
    let said = recipe(&["kubernetes", "-c", path.to_str().unwrap()]);
    let error = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{error}");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn a_pod_needs_no_doors_and_has_the_times_and_addresses_of_the_configuration() {
    let usual = pod("");
    for piece in [
        "containerPort: 8888",
        "listens on 127.0.0.1:5000",
        "\"http://127.0.0.1:9901/readyz\"",
        "sleep: { seconds: 40 }",
        "terminationGracePeriodSeconds: 60",
    ] {
        assert!(usual.contains(piece), "{piece}: {usual}");
    }
    let slow = pod("shutdown.drain = \"2m\"\nadmin.listen = \"0.0.0.0:9000\"\n");
    for piece in [
        "\"http://127.0.0.1:9000/livez\"",
        "sleep: { seconds: 130 }",
        "terminationGracePeriodSeconds: 150",
    ] {
        assert!(slow.contains(piece), "{piece}: {slow}");
    }
    let blind = pod("admin.listen = \"off\"\n");
    assert!(!blind.contains("Probe"), "{blind}");
}

#[test]
fn without_doors_there_is_no_recipe() {
    let folder = std::env::temp_dir().join(format!("clerk-gate-doorless-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("clerk-gate.toml");
    let text = std::fs::read_to_string(Path::new(ROOT).join("examples/gateways/clerk-gate.toml"));
    let text = text.unwrap();
    for (server, table, port) in [
        ("nginx", "[forward-auth]", "8081"),
        ("envoy-grpc", "[ext-authz]", "8082"),
    ] {
        let written = format!("{table}\nlisten = \"127.0.0.1:{port}\"\npeers  = [\"127.0.0.1\"]\n");
        assert!(text.contains(&written), "{table}");
        std::fs::write(&file, text.replace(&written, "")).unwrap();
        let said = recipe(&[server, "-c", file.to_str().unwrap()]);
        assert_eq!(said.status.code(), Some(2));
        assert_eq!(said.stdout, b"");
        let error = String::from_utf8(said.stderr).unwrap();
        assert!(error.contains(&format!("there is no `{table}`")), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn no_recipe_shows_the_secret() {
    let folder = std::env::temp_dir().join(format!("clerk-gate-recipes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let secret = "0123456789abcdef-never-printed";
    std::fs::write(folder.join("secret"), secret).unwrap();
    let file = folder.join("clerk-gate.toml");
    let text = std::fs::read_to_string(Path::new(ROOT).join("examples/gateways/clerk-gate.toml"));
    let peers = "peers  = [\"127.0.0.1\"]";
    let secret_file = format!("secret-file = \"{}\"", folder.join("secret").display());
    std::fs::write(&file, text.unwrap().replace(peers, &secret_file)).unwrap();
    for server in [
        "nginx",
        "traefik",
        "caddy",
        "haproxy-lua",
        "envoy",
        "envoy-grpc",
    ] {
        let said = recipe(&[server, "-c", file.to_str().unwrap()]);
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(!text.contains(secret), "{server}");
        let names = text.contains("X-Clerk-Gate-Secret") || text.contains("x-clerk-gate-secret");
        assert!(names, "{server}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
