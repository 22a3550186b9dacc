// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors of peer configurations, as received from a peer: this library and the original accept the same
//! ones and read the same values.

#![no_main]

mod original;

use std::ffi::{c_int, c_void};
use std::sync::LazyLock;

use original::Library;

static BOTH: LazyLock<[Library; 2]> = LazyLock::new(original::both);

type GetDirectWrite = unsafe extern "C" fn(*const c_void, *mut bool) -> c_int;
type GetDescriptor = unsafe extern "C" fn(*const c_void, *mut u8) -> c_int;

/// Whether it allows direct write to PMem, and the descriptor that it gives.
fn fields(library: &Library, cfg: *const c_void) -> (bool, u8) {
    let (mut direct_write, mut descriptor) = (false, 0xff);
    // SAFETY: the types are those of <librpma.h>; the configuration was created by that library, and a
    // descriptor is one byte.
    unsafe {
        let get: GetDirectWrite = library.function(c"rpma_peer_cfg_get_direct_write_to_pmem");
        let get_descriptor: GetDescriptor = library.function(c"rpma_peer_cfg_get_descriptor");
        assert_eq!(get(cfg, &mut direct_write), 0);
        assert_eq!(get_descriptor(cfg, &mut descriptor), 0);
    }
    (direct_write, descriptor)
}

libfuzzer_sys::fuzz_target!(|descriptor: &[u8]| {
    let [ours, original] = BOTH.each_ref().map(|library| {
        // SAFETY: the functions of peer configurations.
        unsafe {
            library.parse(
                c"rpma_peer_cfg_from_descriptor",
                c"rpma_peer_cfg_delete",
                descriptor,
                fields,
            )
        }
    });
    assert_eq!(ours, original, "{descriptor:x?}");
});
