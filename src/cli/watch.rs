//! Files that a configuration was read from, watched for a change.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

/// How often they are looked at. Asking the file system works where being told by it does not: over
/// networks, in containers, and where a link on the way is changed, as Kubernetes does.
const PAUSE: Duration = Duration::from_secs(1);

/// A file, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Seen {
    file: PathBuf,
    /// A digest of what was in it, which need not be kept; `None` if it could not be read.
    content: Option<Vec<u8>>,
}

/// Files, and how they were when they were read.
#[derive(Debug)]
pub(super) struct Watched {
    seen: Arc<[Seen]>,
    /// As they were when they were last looked at.
    stamps: Vec<Option<Stamp>>,
}

/// What tells that a file may be another one. Links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Seen {
    /// A file that this was read from.
    pub(super) fn reading<E>(file: &Path, bytes: Result<&[u8], E>) -> Self {
        let content = bytes.map(|bytes| digest(&SHA256, bytes).as_ref().to_vec());
        Self {
            file: file.to_owned(),
            content: content.ok(),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// A file as it is now.
    pub(super) fn now(file: &Path) -> Self {
        Self::reading(file, std::fs::read(file).as_deref())
    }
}

impl Watched {
    /// Watches for files that are not as they were read.
    pub(super) fn new(seen: Vec<Seen>) -> Self {
        Self {
            seen: seen.into(),
            stamps: Vec::new(),
        }
    }

    /// Looks at the files where nobody waits for it but the caller: a file system may take its time.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&[Seen]) -> T + Send + 'static,
    ) -> Option<T> {
        let seen = Arc::clone(&self.seen);
        let looked = tokio::task::spawn_blocking(move || look(&seen)).await;
        looked.ok()
    }

    /// Returns once something else is in the files, and has stayed for a while: whoever writes several
    /// has written them all.
    pub(super) async fn changed(&mut self) {
        let mut settled = true;
        loop {
            tokio::time::sleep(PAUSE).await;
            let stamps = self.look(|seen| seen.iter().map(|seen| stamp(&seen.file)).collect());
            let stamps = stamps.await.unwrap_or_default();
            if stamps != self.stamps {
                self.stamps = stamps;
                settled = false;
            } else if !settled {
                settled = true;
                let differ = |seen: &[Seen]| seen.iter().any(|seen| Seen::now(&seen.file) != *seen);
                if self.look(differ).await == Some(true) {
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seen").field(&self.file).finish()
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(file).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        length: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
    })
}
