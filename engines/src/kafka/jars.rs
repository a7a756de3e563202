//! Kafka's program, from Maven Central.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::KafkaVersion;
use crate::run::{find, run};
use crate::{apt, cache};

/// What has to be there beforehand: a program and the package it comes from.
const TOOLS: [(&str, &str); 2] = [("java", "default-jre-headless"), ("mvn", "maven")];

/// A directory with all of Kafka's jars.
#[derive(Clone, Debug)]
pub(super) struct Jars(PathBuf);

impl Jars {
    pub(super) fn get(version: KafkaVersion) -> Result<Self> {
        let missing: Vec<&str> = TOOLS
            .iter()
            .filter(|(program, _)| find(program).is_none())
            .map(|(_, package)| *package)
            .collect();
        if !missing.is_empty() {
            cache::locked("apt", || apt::install(&missing))
                .context("kafka needs java and maven")?;
        }
        let name = format!("kafka-{}", version.number());
        let dir = cache::directory(&name, |dir| fetch(version, dir))?;
        Ok(Self(dir))
    }

    /// A command that runs one of Kafka's classes. The optimising compiler pays
    /// only for what `lives_long`.
    pub(super) fn java(&self, class: &str, heap_mb: u32, lives_long: bool) -> Command {
        let mut class_path = OsString::from(&self.0);
        class_path.push("/*");
        let mut command = Command::new("java");
        command
            .arg(format!("-Xmx{heap_mb}m"))
            .arg("-XX:+UseSerialGC")
            .args((!lives_long).then_some("-XX:TieredStopAtLevel=1"))
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-cp")
            .arg(class_path)
            .arg(class);
        command
    }
}

fn fetch(version: KafkaVersion, dir: &Path) -> Result<()> {
    let project = dir.join("pom.xml");
    fs::write(&project, pom(version.number())).context("write the list of jars")?;
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-q", "dependency:copy-dependencies"])
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", dir.display()))
        .arg("-f")
        .arg(&project);
    run(&mut maven).with_context(|| format!("get kafka {} with maven", version.number()))?;
    Ok(())
}

/// Kafka, and what writes its log to the standard error output.
fn pom(version: &str) -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>halley</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#
    )
}
