// SPDX-License-Identifier: BSD-3-Clause

//! Functions of the C library: errno and its text, strings of the caller, the output of the log, one page of
//! memory.

mod call_error;
mod caller_str;
pub(crate) mod errno;
pub(crate) mod log_function;
pub(crate) mod log_output;
mod page;
mod text;

pub(crate) use call_error::CallError;
pub(crate) use caller_str::CallerStr;
pub(crate) use page::SharedPage;
pub(crate) use text::Text;
