// SPDX-License-Identifier: BSD-3-Clause

//! The macros that declarations are written with. Each yields the declaration and, for the tests, a
//! row of a table, so that a declaration without its test cannot be written.
//!
//! Two marks may stand before a field or a constant:
//! - `#[newer]`: headers older than rdma-core 46, or older kernels' headers, lack it.
//! - `#[unnamed]`: an unnamed union in C, which has a name and a type of its own here.

#[cfg(test)]
pub(crate) use table::*;

/// `struct` and `union` types. `as "…"` gives the C type where it is not `struct name` or
/// `union name`: an expression whose type it is, or `unnamed`.
macro_rules! types {
    ($(
        $kind:ident $name:ident $(as $c:literal)? {
            $($(#[$mark:ident])? $field:ident: $type:ty,)*
        }
    )*) => {
        $($crate::declare::one_type! { $kind $name { $($field: $type,)* } })*

        #[cfg(test)]
        pub(crate) const TYPES: &[$crate::declare::Type] = &[$(
            $crate::declare::Type {
                kind: stringify!($kind),
                name: stringify!($name),
                place: [$($c,)? ""][0],
                size: size_of::<$name>(),
                fields: &[$(
                    $crate::declare::Field {
                        name: stringify!($field),
                        mark: [$(stringify!($mark),)? ""][0],
                        rust_type: stringify!($type),
                        offset: std::mem::offset_of!($name, $field),
                    },
                )*],
            },
        )*];
    };
}
pub(crate) use types;

macro_rules! one_type {
    (struct $name:ident { $($field:ident: $type:ty,)* }) => {
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $name { $(pub $field: $type,)* }
    };
    (union $name:ident { $($field:ident: $type:ty,)* }) => {
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub union $name { $(pub $field: $type,)* }
    };
}
pub(crate) use one_type;

/// Types that are only pointed to.
macro_rules! opaque_types {
    ($($name:ident)*) => {
        $(
            #[repr(C)]
            pub struct $name { _opaque: [u8; 0] }
        )*
    };
}
pub(crate) use opaque_types;

/// Enumerations, in the shapes that the published crate gives them:
/// - `module`: constants in a module, with their integer type `Type`;
/// - `bits`: a struct around an integer, with associated constants, that can be combined;
/// - `rust`: a Rust enumeration;
/// - `plain`: constants of this crate, with a type alias;
/// - `macros`: as `plain`, of what is `#define`d in C, or has no C type of this name.
macro_rules! enums {
    ($(
        $shape:ident $name:ident: $type:ident {
            $($(#[$mark:ident])? $constant:ident = $value:expr,)*
        }
    )*) => {
        $($crate::declare::one_enum! { $shape $name: $type { $($constant = $value,)* } })*

        #[cfg(test)]
        pub(crate) const ENUMS: &[$crate::declare::Enum] = &[$(
            $crate::declare::Enum {
                name: stringify!($name),
                shape: stringify!($shape),
                size: size_of::<$type>(),
                signed: $type::MIN != 0,
                constants: &[$(
                    $crate::declare::Constant {
                        name: stringify!($constant),
                        mark: [$(stringify!($mark),)? ""][0],
                        value: $crate::declare::value!($shape $name $constant),
                    },
                )*],
            },
        )*];
    };
}
pub(crate) use enums;

macro_rules! one_enum {
    (module $name:ident: $type:ident { $($constant:ident = $value:expr,)* }) => {
        pub mod $name {
            pub type Type = std::ffi::$type;
            $(pub const $constant: Type = $value;)*
        }
    };
    (bits $name:ident: $type:ident { $($constant:ident = $value:expr,)* }) => {
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub $type);

        impl $name {
            $(pub const $constant: Self = Self($value);)*
        }

        impl std::ops::BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl std::ops::BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }

        impl std::ops::BitAnd for $name {
            type Output = Self;

            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }

        impl std::ops::BitAndAssign for $name {
            fn bitand_assign(&mut self, other: Self) {
                self.0 &= other.0;
            }
        }
    };
    (rust $name:ident: $type:ident { $($constant:ident = $value:expr,)* }) => {
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($constant = $value,)*
        }

        const _: () = assert!(size_of::<$name>() == size_of::<$type>());
    };
    ($plain:ident $name:ident: $type:ident { $($constant:ident = $value:expr,)* }) => {
        pub type $name = $type;
        $(pub const $constant: $name = $value;)*
    };
}
pub(crate) use one_enum;

/// The value of a declared constant, read from the declaration and not from its source.
#[cfg(test)]
macro_rules! value {
    (bits $name:ident $constant:ident) => {
        $name::$constant.0 as i128
    };
    (plain $name:ident $constant:ident) => {
        $constant as i128
    };
    (macros $name:ident $constant:ident) => {
        $constant as i128
    };
    ($shape:ident $name:ident $constant:ident) => {
        $name::$constant as i128
    };
}
#[cfg(test)]
pub(crate) use value;

/// Functions of the libraries.
macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $returns:ty)?;)*) => {
        unsafe extern "C" {
            $(pub fn $name($($argument: $type),*) $(-> $returns)?;)*
        }

        #[cfg(test)]
        pub(crate) const FUNCTIONS: &[$crate::declare::Function] = &[$(
            $crate::declare::Function {
                name: stringify!($name),
                rust_type: stringify!(unsafe extern "C" fn($($type),*) $(-> $returns)?),
            },
        )*];
    };
}
pub(crate) use functions;

#[cfg(test)]
mod table {
    pub(crate) struct Type {
        pub(crate) kind: &'static str,
        pub(crate) name: &'static str,
        pub(crate) place: &'static str,
        pub(crate) size: usize,
        pub(crate) fields: &'static [Field],
    }

    pub(crate) struct Field {
        pub(crate) name: &'static str,
        pub(crate) mark: &'static str,
        pub(crate) rust_type: &'static str,
        pub(crate) offset: usize,
    }

    pub(crate) struct Enum {
        pub(crate) name: &'static str,
        pub(crate) shape: &'static str,
        pub(crate) size: usize,
        pub(crate) signed: bool,
        pub(crate) constants: &'static [Constant],
    }

    pub(crate) struct Constant {
        pub(crate) name: &'static str,
        pub(crate) mark: &'static str,
        pub(crate) value: i128,
    }

    pub(crate) struct Function {
        pub(crate) name: &'static str,
        pub(crate) rust_type: &'static str,
    }
}
