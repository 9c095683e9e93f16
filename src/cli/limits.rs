//! The line of the start-up text with the limits of the running process.

use crate::vocabulary::limits::ProcessLimits;

/// Formats the limits of a running gateway.
#[must_use]
pub fn limits_line(limits: ProcessLimits) -> String {
    let ProcessLimits {
        sessions_max,
        http_connections_max,
        open_files_max,
    } = limits;
    format!(
        "Limits: {sessions_max} sessions (sessions_max), {http_connections_max} HTTP connections \
         on each shard (http_connections_max), {open_files_max} open files.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_limits_has_their_keys() {
        let line = limits_line(ProcessLimits {
            sessions_max: 64,
            http_connections_max: 8,
            open_files_max: 320,
        });
        let expected = "Limits: 64 sessions (sessions_max), 8 HTTP connections on each shard \
                        (http_connections_max), 320 open files.\n";
        assert_eq!(line, expected);
    }
}
