// SPDX-License-Identifier: GPL-2.0-only

//! Lists that userspace reads line by line while entries come and go.
//!
//! A `struct seq_file` asks for one entry after the other, and copies a page of lines to userspace at
//! a time. Here, each entry is looked up by its place in an order: the first after the last one that
//! was shown. So nothing is held from one entry to the next, neither memory that grows with the
//! list nor a lock, however slowly userspace reads. An entry that exists from open to the end of the
//! list is shown exactly once, whatever is inserted or removed meanwhile.
//!
//! C header: [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

use super::module::Entered;

/// A list with an order. The type only names it.
pub(crate) trait Listing: 'static {
    /// What has the entries.
    type Context: Send + Sync + 'static;

    /// A copy of what is shown of an entry, which has its place in the order.
    type Row: Send + 'static;

    /// The first line: the names of the columns.
    const HEADER: &'static str;

    /// Userspace opens the list.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    fn opened(_context: &Self::Context, _entered: &Entered<'_>) {}

    /// The first entry after `last`, or the first of all. `last` may be gone.
    ///
    /// # Context
    ///
    /// Process context; may sleep, but not for long: the reader cannot be killed meanwhile.
    fn after(context: &Self::Context, last: Option<&Self::Row>) -> Option<Self::Row>;

    /// Prints one line, of less than a page, with [`seq_print!`].
    fn show(row: &Self::Row, to: &SeqFile);
}

/// Where an open file stands in its list.
pub(super) struct Reader<L: Listing> {
    context: Arc<L::Context>,
    /// The number of the current line. The header is 0.
    line: i64,
    /// The entry in the line before, if that is not the header.
    last: Option<L::Row>,
    /// The entry in the current line, if there is one.
    current: Option<L::Row>,
}

impl<L: Listing> Reader<L> {
    /// Goes to a line, and returns whether there is one. Only the header and the current line can be
    /// found.
    fn start(&mut self, line: i64) -> bool {
        if line == 0 {
            self.line = 0;
            (self.last, self.current) = (None, None);
            return true;
        }
        // The entry may have gone since the line was looked up.
        self.current = match line == self.line {
            true => L::after(&self.context, self.last.as_ref()),
            false => None,
        };
        self.current.is_some()
    }

    /// Goes to the next line, and returns whether there is one.
    fn next(&mut self) -> bool {
        if let Some(shown) = self.current.take() {
            self.last = Some(shown);
        }
        self.line += 1;
        self.current = L::after(&self.context, self.last.as_ref());
        self.current.is_some()
    }

    /// Prints the current line.
    fn show(&self, to: &SeqFile) {
        match &self.current {
            Some(row) => L::show(row, to),
            None => seq_print!(to, "{}\n", L::HEADER),
        }
    }
}

/// The operations of a `struct seq_file`, whose private data is a [`Reader`].
pub(super) struct Sequence<L>(PhantomData<L>);

impl<L: Listing> Sequence<L> {
    const TABLE: &'static bindings::seq_operations = &bindings::seq_operations {
        start: Some(Self::start),
        stop: Some(Self::stop),
        next: Some(Self::next),
        show: Some(Self::show),
    };

    /// Lets `file` read the list of `context`. `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Safety
    ///
    /// - `file` is valid, is being opened, and has no private data.
    /// - If this succeeds, nothing but the `seq_*()` functions uses its private data until
    ///   [`Sequence::close`], which is called before the code of this module goes.
    pub(super) unsafe fn open(file: *mut bindings::file, context: Arc<L::Context>) -> Result {
        let reader = Reader::<L> {
            context,
            line: 0,
            last: None,
            current: None,
        };
        let reader = KBox::new(reader, GFP_KERNEL)?;
        // SAFETY: By the requirements `file` is valid and has no private data. The operations are
        // static, and those of the private data that is set below, before anybody can read.
        to_result(unsafe { bindings::seq_open(file, Self::TABLE) })?;
        // SAFETY: `seq_open()` has made the private data a valid `struct seq_file`, to which nobody
        // else has access before the file is open.
        unsafe {
            (*(*file).private_data.cast::<bindings::seq_file>()).private =
                KBox::into_raw(reader).cast()
        };
        Ok(())
    }

    /// Frees what [`Sequence::open`] has made.
    ///
    /// # Safety
    ///
    /// [`Sequence::open`] of the same `L` has succeeded for `file`, which nobody uses any more.
    /// `inode` is that of the file.
    pub(super) unsafe fn close(inode: *mut bindings::inode, file: *mut bindings::file) {
        // SAFETY: By the requirements the private data is a valid `struct seq_file`.
        let private = unsafe { (*(*file).private_data.cast::<bindings::seq_file>()).private };
        // SAFETY: By the requirements `open()` has set the pointer, which nobody uses any more.
        drop(unsafe { KBox::from_raw(private.cast::<Reader<L>>()) });
        // SAFETY: By the requirements this is the end of the `struct seq_file`, whose operations do
        // not run any more. It always succeeds.
        unsafe { bindings::seq_release(inode, file) };
    }

    /// The reader of a `struct seq_file`.
    ///
    /// # Safety
    ///
    /// `m` is that of a file for which [`Sequence::open`] of the same `L` has succeeded, and is locked by
    /// the current task as long as the reference is used; there is no other reference meanwhile.
    unsafe fn reader<'a>(m: *mut bindings::seq_file) -> &'a mut Reader<L> {
        // SAFETY: By the requirements `m` is valid, and its private data is a valid `Reader<L>`, to
        // which the lock gives exclusive access.
        unsafe { &mut *(*m).private.cast::<Reader<L>>() }
    }

    /// The answer of `start` and `next`: a pointer that nobody dereferences, or NULL at the end.
    fn answer(m: *mut bindings::seq_file, found: bool) -> *mut c_void {
        match found {
            true => m.cast(),
            false => core::ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// As [`Sequence::reader`]; `line` is a valid number.
    unsafe extern "C" fn start(
        m: *mut bindings::seq_file,
        line: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: By the requirements of this function.
        let (reader, line) = unsafe { (Self::reader(m), *line) };
        Self::answer(m, reader.start(line))
    }

    /// # Safety
    ///
    /// As [`Sequence::reader`]; `line` is a valid number.
    unsafe extern "C" fn next(
        m: *mut bindings::seq_file,
        _entry: *mut c_void,
        line: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: By the requirements of this function.
        let reader = unsafe { Self::reader(m) };
        let found = reader.next();
        // SAFETY: By the requirements of this function.
        unsafe { *line = reader.line };
        Self::answer(m, found)
    }

    /// # Safety
    ///
    /// As [`Sequence::reader`].
    unsafe extern "C" fn show(m: *mut bindings::seq_file, _entry: *mut c_void) -> c_int {
        // SAFETY: By the requirements of this function; `m` is valid, and this thread's alone.
        let (reader, to) = unsafe { (Self::reader(m), SeqFile::from_raw(m)) };
        reader.show(to);
        0
    }

    /// Nothing is held from one call to the next.
    extern "C" fn stop(_m: *mut bindings::seq_file, _entry: *mut c_void) {}
}

/// Text of any bytes as one word of a line: blanks, backslashes, and what is not printable ASCII are
/// `\xNN`. Text without bytes is `-`.
pub(crate) struct Word<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for byte in self.0 {
            match byte {
                b'\\' => f.write_str("\\x5c")?,
                b'!'..=b'~' => fmt::Write::write_char(f, char::from(*byte))?,
                _ => f.write_fmt(fmt!("\\x{byte:02x}"))?,
            }
        }
        Ok(())
    }
}

/// A number that may be unknown, which is `-`.
pub(crate) struct OrDash(pub(crate) Option<u64>);

impl fmt::Display for OrDash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => f.write_fmt(fmt!("{number}")),
            None => f.write_str("-"),
        }
    }
}
