// SPDX-License-Identifier: BSD-3-Clause

//! Private data: the bytes that are sent with a connection request and its acceptance.

use std::sync::OnceLock;

use crate::error::{Error, Failure, Result};

/// A copy of private data. It is set once and keeps its address as long as its owner exists, because C programs
/// keep pointers to it.
#[derive(Default)]
pub(crate) struct PrivateData(OnceLock<Vec<u8>>);

impl PrivateData {
    /// Copies the bytes, if there are any.
    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Self> {
        let data = Self::default();
        data.set_if_empty(bytes)?;
        Ok(data)
    }

    /// Copies the bytes, unless private data is set already.
    pub(crate) fn set_if_empty(&self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() || self.0.get().is_some() {
            return Ok(());
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len())
            .map_err(|_| Error::new(Failure::OutOfMemory))?;
        copy.extend_from_slice(bytes);
        // If another thread has set it meanwhile, its bytes stay.
        let _ = self.0.set(copy);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.get().map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_stay() {
        let data = PrivateData::default();
        assert!(data.set_if_empty(b"").is_ok());
        assert!(data.set_if_empty(b"one").is_ok());
        let kept = data.bytes().as_ptr();
        assert!(data.set_if_empty(b"two").is_ok());
        assert_eq!(data.bytes(), b"one");
        assert_eq!(data.bytes().as_ptr(), kept);
    }
}
