//! Clerk's script for browsers, clerk-js, under the addresses it has at Clerk: taken from an installed
//! package, never fetched.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use http::{Method, StatusCode};
use hyper::body::Bytes;

use super::answer::{self, Answer, not_found};
use super::call::Call;
use super::instance::Instance;

/// The name of the package.
const PACKAGE: &str = "@clerk/clerk-js";

/// The scripts of an installed package `@clerk/clerk-js`.
#[derive(Clone)]
pub struct ClerkJs {
    version: String,
    scripts: Arc<HashMap<String, Bytes>>,
}

impl ClerkJs {
    /// Reads the package in a folder, such as `node_modules/@clerk/clerk-js`.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let manifest = std::fs::read(folder.join("package.json"))?;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
        let text = |name: &str| manifest.get(name).and_then(serde_json::Value::as_str);
        let (Some(PACKAGE), Some(version)) = (text("name"), text("version")) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{}` is no package `{PACKAGE}`", folder.display()),
            ));
        };
        let mut scripts = HashMap::new();
        for entry in std::fs::read_dir(folder.join("dist"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "js")
                && let Some(name) = path.file_name().and_then(|name| name.to_str())
            {
                scripts.insert(name.to_owned(), Bytes::from(std::fs::read(&path)?));
            }
        }
        Ok(Self::new(version, scripts))
    }

    pub(super) fn new(version: &str, scripts: HashMap<String, Bytes>) -> Self {
        Self {
            version: version.to_owned(),
            scripts: Arc::new(scripts),
        }
    }

    /// A script of the version that is asked for in full, or by its major number.
    fn script(&self, version: &str, name: &str) -> Option<&Bytes> {
        let major = self.version.split('.').next();
        (version == self.version || Some(version) == major)
            .then(|| self.scripts.get(name))
            .flatten()
    }
}

/// Answers a call under `/npm`.
pub(super) fn answer(instance: &Instance, call: &Call, path: &[&str]) -> Answer {
    let found = match (&call.method, path) {
        (&Method::GET, ["@clerk", package, "dist", name]) => {
            let version = package.strip_prefix("clerk-js@");
            let scripts = instance.options.clerk_js.as_ref().zip(version);
            scripts.and_then(|(scripts, version)| scripts.script(version, name))
        }
        _ => None,
    };
    found.map_or_else(not_found, |script| {
        answer::bytes(
            StatusCode::OK,
            "text/javascript; charset=utf-8",
            script.clone(),
        )
    })
}
