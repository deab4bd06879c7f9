//! What a program said on its standard error before it gave up.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

/// Bytes of a complaint that are kept for the error.
const MAX_COMPLAINT: u64 = 4096;

/// How long a program's children may hold its standard error open.
const DEADLINE: Duration = Duration::from_secs(1);

/// Reads what the program said, until it ends or the deadline has passed. Bytes that are not UTF-8 are replaced.
pub(crate) async fn read(stderr: Option<ChildStderr>) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = stderr {
        let mut stderr = stderr.take(MAX_COMPLAINT);
        let _ = tokio::time::timeout(DEADLINE, stderr.read_to_end(&mut text)).await;
    }
    String::from_utf8_lossy(&text).into_owned()
}
