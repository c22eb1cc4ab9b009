//! One etcd process with an empty store: its data, sockets and log lie in a temporary folder, and it ends
//! with its owner, even if that is killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::Failure;

/// etcd runs beside a shell that waits for its input to end, as it does when this process is killed, and cleans up.
const KEEPER: &str = r#"etcd "$@" </dev/null >log 2>&1 & read -r _; kill -9 $!; wait $!; rm -rf -- "$PWD""#;
const CLIENT: &str = "unix://client:0";
const PEER: &str = "unix://peer:0";

/// See the module.
pub struct Server {
    keeper: Child,
    folder: TempDir,
}

impl Server {
    /// Starts a process; it answers when it is ready, see [`crate::client::Client::connect`].
    pub fn start() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("etcd-diff-").tempdir();
        let folder = folder.map_err(|error| Failure::Setup(format!("no temporary folder: {error}")))?;
        let mut keeper = Command::new("sh");
        // etcd takes options from there, too.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD_"))
        {
            keeper.env_remove(name);
        }
        let keeper = keeper
            .args(["-c", KEEPER, "etcd-diff", "--data-dir", "data"])
            .args(["--listen-client-urls", CLIENT, "--advertise-client-urls", CLIENT])
            .args(["--listen-peer-urls", PEER, "--initial-advertise-peer-urls", PEER])
            .args(["--initial-cluster", &format!("default={PEER}")])
            .args(["--heartbeat-interval", "1", "--election-timeout", "10", "--unsafe-no-fsync"])
            .args(["--enable-grpc-gateway=false", "--logger", "zap", "--log-outputs", "stderr"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Failure::Setup(format!("no shell: {error}")))?;
        Ok(Self { keeper, folder })
    }

    /// The socket that clients use, once etcd has made it.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("client:0")
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // The keeper has nothing left to wait for.
        let _ = self.keeper.wait();
    }
}
