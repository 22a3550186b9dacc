// SPDX-License-Identifier: BSD-3-Clause

//! What the I/O thread asks of a connection beside its sockets.

/// One end of a connection.
pub(crate) trait Endpoint: Send + Sync {
    /// Goes on with work that no socket announces.
    fn progress_again(&self);

    /// Whether the program goes on polling, and finds what comes. If not, the I/O thread looks for input again.
    fn check_polling(&self) -> bool;

    /// Sends the acknowledgements that were delayed to be sent with a request.
    fn flush_responses(&self);
}
