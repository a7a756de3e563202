//! What `deploy/` sets and what the documentation shows are keys of Halley's,
//! with values that it takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const ROLES: [&str; 3] = ["comet", "logic", "job"];

type Variables = BTreeMap<String, String>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if endings
            .iter()
            .any(|end| path.to_string_lossy().ends_with(end))
        {
            found.push(path);
        }
    }
    found
}

/// The variables of Halley's that a file sets: in a unit, in a list of names
/// and values, or in a map.
fn variables(text: &str) -> Variables {
    let mut variables = Variables::new();
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let (name, value) = if let Some(setting) = line.strip_prefix("Environment=") {
            setting.split_once('=').expect("a name and a value")
        } else if let Some(name) = line.strip_prefix("- name: ") {
            let value = lines.peek().and_then(|next| next.strip_prefix("value: "));
            (name, value.unwrap_or("{{ }}"))
        } else if let Some(setting) = line.split_once(": ") {
            setting
        } else {
            continue;
        };
        if name.starts_with("HALLEY_") && name != "HALLEY_CONFIG" {
            variables.insert(name.to_owned(), filled_in(value));
        }
    }
    variables
}

/// The value with something in the place of what is only known when it is used.
fn filled_in(value: &str) -> String {
    let mut value = value.trim_matches('"').to_owned();
    for (start, end, known) in [
        ("{{ .Values.auth.mode", "}}", "jwt"),
        ("{{", "}}", "1"),
        ("${", "}", "0123456789abcdef"),
        ("$(", ")", "10.0.0.1"),
    ] {
        while let Some(from) = value.find(start) {
            let length = value[from..].find(end).expect("an end") + end.len();
            value.replace_range(from..from + length, known);
        }
    }
    value
}

/// The block below a line, without its indentation.
fn indented_below(text: &str, head: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.trim() != head);
    let head = lines.next().unwrap_or_else(|| panic!("no {head:?}"));
    let indent = head.len() - head.trim_start().len();
    let is_inside = |line: &&str| line.is_empty() || line[..=indent].trim().is_empty();
    let block: Vec<_> = lines.take_while(is_inside).map(str::trim).collect();
    block.join("\n")
}

/// What is written as TOML in a document.
fn examples(document: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = document.lines().map(str::trim);
    while lines.any(|line| line == "```toml") {
        let example: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        examples.push(example.join("\n"));
    }
    examples
}

/// Runs the real binary on a config, with nothing else in its environment.
fn halley(args: &[&str], config: &str, variables: &Variables) -> Result<(), String> {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("halley.toml");
    fs::write(&file, config).expect("write");
    let output = Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(args)
        .env_clear()
        .envs(variables)
        .env("HALLEY_CONFIG", &file)
        .output()
        .expect("run halley");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn the_image_is_built_from_all_that_a_build_reads() {
    let let_in = read("deploy/Dockerfile.dockerignore");
    let let_in: Vec<_> = let_in
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("a list");
    let members = members.iter().filter_map(toml::Value::as_str);
    // The allocator's settings are in `.cargo`; the binary shows the reference file.
    let others = [".cargo", "Cargo.toml", "Cargo.lock", "halley.toml"];
    for needed in members.chain(others) {
        assert!(let_in.contains(&needed), "{needed} is left out");
    }
}

#[test]
fn every_variable_is_a_key() {
    let deploy = repository().join("deploy");
    let mut seen = 0;
    for file in files(&deploy, &[".yaml", ".tpl", ".service"]) {
        let variables = variables(&fs::read_to_string(&file).expect("a text"));
        seen += variables.len();
        if let Err(error) = halley(&["print-config"], "", &variables) {
            panic!("{}: {error}", file.display());
        }
    }
    assert!(seen > 30, "only {seen} variables found");
}

#[test]
fn every_role_can_start_with_what_compose_sets() {
    let variables = variables(&read("deploy/compose.yaml"));
    for role in ROLES {
        halley(&["check-config", "--role", role], "", &variables).unwrap();
    }
}

#[test]
fn every_role_can_start_with_what_the_chart_sets() {
    let config = indented_below(&read("deploy/helm/halley/values.yaml"), "config: |");
    let mut variables = variables(&read("deploy/helm/halley/templates/_helpers.tpl"));
    // Files are in the pods only; without them the secret is the chart's minimum.
    variables.retain(|name, _| !name.contains("_FILE") && !name.starts_with("HALLEY_TRUST__"));
    // Set with the mode "insecure" only.
    variables.remove("HALLEY_LOGIC__AUTH__INSECURE__ALLOW_PUBLIC");
    assert_eq!(variables["HALLEY_LOGIC__AUTH__MODE"], "jwt");
    let dir = TempDir::new().expect("a folder");
    let key = dir.path().join("key");
    fs::write(&key, "one that nobody else knows, 32 bytes").expect("write");
    for (name, value) in [
        ("HALLEY_TRUST__SECRET", "0123456789abcdef"),
        ("HALLEY_LOGIC__AUTH__JWT__KEY_FILE", &key.to_string_lossy()),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    for role in ROLES {
        halley(&["check-config", "--role", role], &config, &variables).unwrap();
    }
}

/// Every address that the chart binds to stands for all of a pod's.
#[test]
fn pods_tell_others_an_address_of_their_own() {
    let variables = variables(&read("deploy/helm/halley/templates/_helpers.tpl"));
    for role in ["COMET", "LOGIC"] {
        let advertised = &variables[&format!("HALLEY_{role}__RPC__ADVERTISE")];
        assert!(advertised.starts_with("10.0.0.1:"), "{advertised}");
    }
    let helpers = read("deploy/helm/halley/templates/_helpers.tpl");
    let addrs = indented_below(&helpers, "- name: HALLEY_COMET__ADDRS");
    assert!(addrs.contains(r#"default "$(POD_IP)""#), "{addrs}");
}

/// Kubernetes gives pods variables for each Service: those of the chart's own
/// would be taken for keys.
#[test]
fn pods_get_no_variables_of_services() {
    let pod = read("deploy/helm/halley/templates/_helpers.tpl");
    assert!(pod.contains("enableServiceLinks: false"));
}

#[test]
fn examples_in_the_documentation_have_valid_keys() {
    let mut documents = files(&repository().join("docs"), &[".md"]);
    documents.extend(files(&repository().join("deploy"), &[".md"]));
    let mut seen = 0;
    for document in documents {
        for example in examples(&fs::read_to_string(&document).expect("a text")) {
            seen += 1;
            if let Err(error) = halley(&["print-config"], &example, &Variables::new()) {
                panic!("{}:\n{example}\n{error}", document.display());
            }
        }
    }
    assert!(seen > 5, "only {seen} examples found");

    let chart = indented_below(&read("deploy/README.md"), "config: |");
    halley(&["print-config"], &chart, &Variables::new()).unwrap();
}
