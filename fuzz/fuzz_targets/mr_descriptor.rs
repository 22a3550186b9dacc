// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors of memory regions, as received from a peer: this library and the original accept the same ones
//! and read the same values. No function returns the address and the key: they are taken from the message that
//! both libraries log for a new remote region.

#![no_main]

mod messages;
mod original;

use std::ffi::{c_int, c_void};
use std::sync::LazyLock;

use original::Library;

static BOTH: LazyLock<[Library; 2]> = LazyLock::new(|| {
    let both = original::both();
    messages::keep(&both);
    both
});

type GetSize = unsafe extern "C" fn(*const c_void, *mut usize) -> c_int;
type GetFlushType = unsafe extern "C" fn(*const c_void, *mut c_int) -> c_int;

fn fields(library: &Library, region: *const c_void) -> (usize, c_int) {
    let (mut size, mut flush_type) = (0, 0);
    // SAFETY: the types are those of <librpma.h>; the region was created by that library.
    unsafe {
        let get_size: GetSize = library.function(c"rpma_mr_remote_get_size");
        let get_flush_type: GetFlushType = library.function(c"rpma_mr_remote_get_flush_type");
        assert_eq!(get_size(region, &mut size), 0);
        assert_eq!(get_flush_type(region, &mut flush_type), 0);
    }
    (size, flush_type)
}

libfuzzer_sys::fuzz_target!(|descriptor: &[u8]| {
    let [ours, original] = [0, 1].map(|whose| {
        // SAFETY: the functions of remote regions.
        unsafe {
            BOTH[whose].parse(
                c"rpma_mr_remote_from_descriptor",
                c"rpma_mr_remote_delete",
                descriptor,
                |library, region| {
                    let message = messages::last(whose);
                    let logged = messages::numbers(&message, ["raddr", "size", "rkey", "usage"]);
                    (fields(library, region), logged)
                },
            )
        }
    });
    assert_eq!(ours, original, "{descriptor:x?}");
});
