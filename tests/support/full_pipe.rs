//! For children that may hang: a pipe that takes nothing more, and a wait that gives up.

use crate::process::PATIENCE;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::io::{PipeReader, PipeWriter, Write as _, pipe};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Waits until a child has ended; kills it if that does not come.
#[track_caller]
pub(crate) fn wait(mut child: Child) -> ExitStatus {
    let (_sender, never) = channel::<()>();
    for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status;
        }
        assert!(never.recv_timeout(LOOK_EVERY).is_err());
    }
    drop(child.kill());
    panic!("it does not end");
}

/// A pipe that takes nothing more until somebody reads.
pub(crate) fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("two descriptors");
    let flags = fcntl_getfl(&writer).expect("it is open");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("it is open");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, flags).expect("it is open");
    (reader, writer)
}

const LOOK_EVERY: Duration = Duration::from_millis(5);
