// SPDX-License-Identifier: GPL-2.0-only

//! Fixed-size records: one description of the fields gives the layout, a reader and a writer.

/// A field that is stored in native byte order without padding.
pub(crate) trait Field: Sized {
    /// Bytes that the field takes.
    const SIZE: usize;

    /// Reads the field from the start of `bytes`; missing bytes read as zero.
    fn load(bytes: &[u8]) -> Self;

    /// Writes the field to the start of `bytes`. If there is too little room, which a caller must
    /// have excluded, nothing is written; a build with debug assertions stops.
    fn store(&self, bytes: &mut [u8]);
}

macro_rules! impl_field_for_int {
    ($($int:ty),*) => {$(
        impl Field for $int {
            const SIZE: usize = size_of::<$int>();

            #[inline]
            fn load(bytes: &[u8]) -> Self {
                bytes.first_chunk().copied().map(<$int>::from_ne_bytes).unwrap_or_default()
            }

            #[inline]
            fn store(&self, bytes: &mut [u8]) {
                let to = bytes.first_chunk_mut();
                debug_assert!(to.is_some(), "the field does not fit");
                if let Some(to) = to {
                    *to = self.to_ne_bytes();
                }
            }
        }
    )*};
}

impl_field_for_int!(u16, u32, u64);

impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;

    #[inline]
    fn load(bytes: &[u8]) -> Self {
        bytes.first_chunk().copied().unwrap_or([0; N])
    }

    #[inline]
    fn store(&self, bytes: &mut [u8]) {
        let to = bytes.first_chunk_mut();
        debug_assert!(to.is_some(), "the field does not fit");
        if let Some(to) = to {
            *to = *self;
        }
    }
}

/// A structure of the ABI.
pub(crate) trait Record: Sized {
    /// Bytes that the record takes.
    const SIZE: usize;

    /// Reads the record from the start of `bytes`; missing bytes read as zero.
    fn load(bytes: &[u8]) -> Self;

    /// Writes the record to the start of `bytes`. As [`Field::store`], if there is too little room.
    fn store(&self, bytes: &mut [u8]);
}

/// Declares a [`Record`]: its fields follow each other without padding.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub(crate) struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::abi::Record for $name {
            const SIZE: usize = 0 $(+ <$type as $crate::abi::record::Field>::SIZE)*;

            #[inline]
            fn load(bytes: &[u8]) -> Self {
                let mut at = 0;
                $(
                    let $field = <$type as $crate::abi::record::Field>::load(
                        bytes.get(at..).unwrap_or_default(),
                    );
                    at += <$type as $crate::abi::record::Field>::SIZE;
                )*
                let _ = at;
                Self { $($field,)* }
            }

            #[inline]
            fn store(&self, bytes: &mut [u8]) {
                let mut at = 0;
                $(
                    $crate::abi::record::Field::store(
                        &self.$field,
                        bytes.get_mut(at..).unwrap_or_default(),
                    );
                    at += <$type as $crate::abi::record::Field>::SIZE;
                )*
                let _ = at;
            }
        }
    };
}
