//! The bytes of a file on their way into a sandbox.
//!
//! Owns that the end of an upload is said and not guessed: a connection that breaks looks like the end of the input, and only
//! the last frame says that the file is whole. Deliberately knows no path.

use std::time::Duration;

use bytes::Bytes;
use sandbox_broker_core::sandbox::{self, CHUNK_BYTES, Code, Entry, Error, Fault, Result};
use sandbox_recorder::wire::files::Upload;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::answers::{Answers, Missing, Said, nonsense};

/// How long the sandbox may take nothing.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Time for the file to be written once all bytes have come. Storage may upload the content once more in that time.
const WRITTEN_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Time for the words of a process that takes no more.
const WORDS_WITHIN: Duration = Duration::from_secs(5);

/// Sends all of an upload, and returns the file's entry without its path.
pub(crate) async fn write(answers: &mut Answers, input: mpsc::Sender<Bytes>, upload: sandbox::Upload) -> Result<Entry> {
    let feeding = feed(input, upload);
    tokio::pin!(feeding);
    // The sandbox says nothing before all bytes have come, unless it failed.
    let said = tokio::select! {
        said = answers.next() => said,
        fed = &mut feeding => match fed {
            // The input stays open meanwhile. A provider may wait for what it has of an input that has ended for a
            // shorter time than the sandbox needs to write it.
            Ok(_open) => within(WRITTEN_WITHIN, answers).await,
            // What the sandbox says of it is better.
            Err(Stopped::NotTaken) => within(WORDS_WITHIN, answers).await,
            Err(Stopped::Source(error)) => {
                // It has no more input, and removes what it has.
                let _ = within(WORDS_WITHIN, answers).await;
                return Err(error);
            }
        },
    };
    match said {
        Ok(Said::Entry(_, entry)) => answers.done().await.map(|()| entry),
        Ok(_) | Err(Missing::Program) => Err(nonsense()),
        Err(Missing::Failed(error)) => Err(error),
    }
}

async fn within(time: Duration, answers: &mut Answers) -> std::result::Result<Said, Missing> {
    timeout(time, answers.next()).await.unwrap_or_else(|_| {
        let message = format!("the sandbox did not write the file within {} s", time.as_secs());
        Err(Error::new(Fault::Provider, Code::DeadlineExceeded, message).into())
    })
}

/// Why not all bytes were sent.
enum Stopped {
    /// The process takes no more.
    NotTaken,
    Source(Error),
}

/// Sends the bytes and, if the source says that these were all, their end. Then the input is returned, and else it ends.
async fn feed(
    input: mpsc::Sender<Bytes>,
    upload: sandbox::Upload,
) -> std::result::Result<mpsc::Sender<Bytes>, Stopped> {
    let sandbox::Upload { mut data, complete, .. } = upload;
    let mut size = 0;
    while let Some(mut bytes) = data.recv().await {
        size += bytes.len() as u64;
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            send(&input, Upload::Content(&piece)).await?;
        }
    }
    match complete.await {
        Ok(Ok(())) => send(&input, Upload::Whole { size }).await.map(|()| input),
        Ok(Err(error)) => Err(Stopped::Source(error)),
        Err(_) => Err(Stopped::Source(Error::new(Fault::Caller, Code::Cancelled, "the upload was given up"))),
    }
}

async fn send(input: &mpsc::Sender<Bytes>, frame: Upload<'_>) -> std::result::Result<(), Stopped> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    match timeout(TAKEN_WITHIN, input.send(bytes.into())).await {
        Ok(sent) => sent.map_err(|_| Stopped::NotTaken),
        Err(_) => {
            let message = format!("the sandbox took nothing for {} s", TAKEN_WITHIN.as_secs());
            Err(Stopped::Source(Error::new(Fault::Provider, Code::DeadlineExceeded, message)))
        }
    }
}
