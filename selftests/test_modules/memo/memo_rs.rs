// SPDX-License-Identifier: GPL-2.0-only

//! Memos: open files that hold a text each, and survive a live update. A handler in Rust, in a module
//! of its own.
//!
//! An ioctl of `/dev/memo` makes a memo; `memo.h` is for its users. `read(2)` returns the text
//! from its start, `write(2)` replaces it. A memo without text cannot be frozen (`EBUSY`): somebody wants to write it.

#![deny(unsafe_code)]

use kernel::{
    fs::{
        file::{
            flags::O_CLOEXEC,
            FileDescriptorReservation, //
        },
        File, //
    },
    ioctl::_IO,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    }, //
};

#[allow(unsafe_code)]
#[path = "../../../include/liveupdate/mod.rs"]
mod liveupdate;

use liveupdate::{
    anon_file::{
        self,
        AnonFile, //
    },
    Damage,
    Failure,
    FileHandler,
    Handler,
    Handover,
    IncomingFiles,
    Kho,
    Outcome,
    OutgoingFiles,
    PhysAddr,
    PreservedFile,
    PreservedMemory,
    Registration, //
};

/// The longest text, in bytes. It crosses in a page, after its length.
const MAX_TEXT: usize = PAGE_SIZE - size_of::<u64>();

/// What is in a memo.
#[pin_data]
struct Memo {
    #[pin]
    text: Mutex<KVec<u8>>,
}

impl Memo {
    /// An open file with the text.
    fn open(text: KVec<u8>) -> Result<ARef<File>> {
        let memo = pin_init!(Self {
            text <- new_mutex!(text),
        });
        anon_file::open(c"[memo]", Arc::pin_init(memo, GFP_KERNEL)?)
    }
}

impl AnonFile for Memo {
    fn read(&self, to: &mut IovIterDest<'_>) -> Result<usize> {
        to.simple_read_from_buffer(&mut 0, &self.text.lock())
    }

    fn write(&self, from: &mut IovIterSource<'_>) -> Result<usize> {
        if from.len() > MAX_TEXT {
            return Err(EFBIG);
        }
        let mut text = KVec::new();
        let len = from.copy_from_iter_vec(&mut text, GFP_KERNEL)?;
        *self.text.lock() = text;
        Ok(len)
    }
}

struct MemoHandler;

static HANDLER: Handler<MemoHandler> = Handler::new(MemoHandler);

impl FileHandler for MemoHandler {
    type Preserved = PreservedMemo;

    fn compatible(&self) -> &str {
        "memo-v1"
    }

    fn accepts(&self, file: &File) -> bool {
        anon_file::value::<Memo>(file).is_some()
    }

    /// Reserves the page that the text goes into when the kexec is entered.
    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        _session: &dyn OutgoingFiles,
    ) -> Result<KBox<PreservedMemo>> {
        let page = PreservedMemory::new(kho, PAGE_SIZE)?;
        Ok(KBox::new(PreservedMemo { file, page }, GFP_KERNEL)?)
    }

    fn retrieve(
        &self,
        handover: &Handover,
        data: u64,
        _session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        let page = handover.claim(PhysAddr(data), PAGE_SIZE)?;
        let text = text_in(page.bytes()).ok_or(Damage::Content("the text does not fit"))?;
        let mut copy = KVec::new();
        copy.extend_from_slice(text, GFP_KERNEL)?;
        Ok(Memo::open(copy)?)
    }

    /// The page of a memo that somebody has asked for is freed already.
    fn finish(&self, handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        match outcome {
            Outcome::Pending => handover.claim(PhysAddr(data), PAGE_SIZE).map(drop),
            Outcome::Retrieved(_) | Outcome::Failed(_) => Ok(()),
        }
    }
}

/// A memo that is preserved, and the page with which it crosses.
struct PreservedMemo {
    file: ARef<File>,
    page: PreservedMemory,
}

impl PreservedFile for PreservedMemo {
    fn data(&self) -> u64 {
        self.page.addr().0
    }

    fn freeze(&mut self, _session: &dyn OutgoingFiles) -> Result {
        let memo = anon_file::value::<Memo>(&self.file).ok_or(EIO)?;
        let text = memo.text.lock();
        if text.is_empty() {
            return Err(EBUSY);
        }
        let page = self.page.bytes_mut();
        let (len, rest) = page.split_first_chunk_mut().ok_or(EIO)?;
        *len = (text.len() as u64).to_ne_bytes();
        rest.get_mut(..text.len())
            .ok_or(EIO)?
            .copy_from_slice(&text);
        Ok(())
    }
}

/// The text in the page of a memo, unless it is longer than the page.
fn text_in(page: &[u8]) -> Option<&[u8]> {
    let (len, rest) = page.split_first_chunk()?;
    rest.get(..usize::try_from(u64::from_ne_bytes(*len)).ok()?)
}

/// `MEMO_CREATE` of `memo.h`.
const MEMO_CREATE: u32 = _IO('m' as u32, 0);

/// An open `/dev/memo`.
struct OpenDevice;

#[vtable]
impl MiscDevice for OpenDevice {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn ioctl(_device: &Self, _file: &File, cmd: u32, _arg: usize) -> Result<isize> {
        if cmd != MEMO_CREATE {
            return Err(ENOTTY);
        }
        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let file = Memo::open(KVec::new())?;
        let number = fd.reserved_fd() as isize;
        fd.fd_install(file);
        Ok(number)
    }
}

module! {
    type: MemoModule,
    name: "memo",
    authors: ["liveupdate-rs developers"],
    description: "Files that hold a text, and survive a live update",
    license: "GPL v2",
}

/// The loaded module.
#[pin_data]
struct MemoModule {
    #[pin]
    _device: MiscDeviceRegistration<OpenDevice>,
    _handler: Registration<MemoHandler>,
}

impl kernel::InPlaceModule for MemoModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _handler: Registration::new(&HANDLER)?,
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"memo" }),
        })
    }
}
