// SPDX-License-Identifier: BSD-3-Clause

//! `softrdma run -- PROGRAM` runs a program on softrdma.

fn main() {}
