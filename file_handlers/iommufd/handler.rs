// SPDX-License-Identifier: GPL-2.0-only

//! The handler of iommufd files.
//!
//! # What crosses
//!
//! The IOAS and which part of which file they map, the page tables, which device is attached to which
//! of them, and the IDs of all of that. Files are named by their tokens, so they are preserved in the
//! same session. The page tables that the IOMMU uses, and the devices, cross by themselves: see the
//! handler of devices, `file_handlers/vfio/`.
//!
//! # The life of an iommufd
//!
//! ```text
//!   old kernel                                     │  new kernel
//!                                                  │
//!   preserve    could it cross as it is now?       │  retrieve   the record is checked; the files that
//!      │                                           │     │         it names are retrieved; a new
//!   (userspace may go on to change it)             │     │         iommufd maps them as before
//!      │                                           │     │
//!   freeze      changes fail with EBUSY; what it   │  (userspace binds the devices: each gets its ID
//!      │          consists of is written to memory │   and its page table again)
//!      │          that crosses                     │     │
//!    kexec ────────── the record ──────────────────┼──►  │
//!                                                  │  finish     not retrieved: the record is freed
//! ```
//!
//! Nothing is kept of what the iommufd consists of at `preserve`, because it may change until the kexec
//! is entered. So freezing allocates memory and may refuse the kexec.
//!
//! # The unhappy path
//!
//! - What cannot be made again, such as a mapping of anonymous memory, is refused with `EOPNOTSUPP`: by
//!   `preserve_fd`, and by `reboot(2)` if it came later. The log says what it is.
//! - If a file that is mapped is not preserved in the same session, the kexec is refused with `EBUSY`.
//!   The log names the IOVA and the file.
//! - After a refusal, and if no kexec comes, the iommufd can be changed again.
//! - A record is trusted after all of it was checked. Damage means `EIO`, and no iommufd is made.
//! - If a file that is mapped cannot be retrieved, neither can the iommufd. The error is that of the
//!   file.

use kernel::{
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    kapi::{
        is_contradiction,
        is_iommufd,
        item::{
            Item,
            Part, //
        },
        outgoing::{
            FrozenIommufd,
            Iommufd, //
        },
        restore,
        FileName, //
    },
    liveupdate::{
        may_log,
        ClaimedMemory,
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
        PreservedMemory, //
    },
    record::{
        self,
        Area,
        Mapping,
        Object,
        Place,
        Record,
        Writer,
        COMPATIBLE, //
    }, //
};

const _: () = assert!(record::PAGE_SIZE == PAGE_SIZE);

/// See the module documentation.
pub(crate) struct IommufdHandler;

pub(crate) static HANDLER: Handler<IommufdHandler> = Handler::new(IommufdHandler);

impl FileHandler for IommufdHandler {
    type Preserved = PreservedIommufd;

    fn compatible(&self) -> &str {
        COMPATIBLE
    }

    fn accepts(&self, file: &File) -> bool {
        is_iommufd(file)
    }

    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        _session: &dyn OutgoingFiles,
    ) -> Result<KBox<PreservedIommufd>> {
        let iommufd = Iommufd::new(file).ok_or(EINVAL)?;
        iommufd.check().map_err(|refusal| {
            if may_log() {
                pr_info!("an iommufd is not preserved: {refusal}\n");
            }
            refusal.errno()
        })?;
        let preserved = PreservedIommufd {
            kho,
            iommufd,
            frozen: None,
        };
        Ok(KBox::new(preserved, GFP_KERNEL)?)
    }

    fn retrieve(
        &self,
        handover: &Handover,
        data: u64,
        session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        let memory = claim(handover, data)?;
        let record = Record::new(memory.bytes()).map_err(Damage::Content)?;
        let items = items_of(&record, session)?;
        restore(&items).map_err(|err| {
            if is_contradiction(err) {
                Damage::Content("an iommufd cannot be as its record says").into()
            } else {
                err.into()
            }
        })
    }

    /// `retrieve` has freed the record, whether it succeeded or not.
    fn finish(&self, handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        match outcome {
            Outcome::Pending => claim(handover, data).map(drop),
            Outcome::Retrieved(_) | Outcome::Failed(_) => Ok(()),
        }
    }
}

/// An iommufd that is preserved.
pub(crate) struct PreservedIommufd {
    kho: Kho,
    iommufd: Iommufd,
    /// From `freeze` to `unfreeze`.
    frozen: Option<Frozen>,
}

/// What a kexec needs.
struct Frozen {
    record: PreservedMemory,
    /// As long as it exists, the record stays true.
    _iommufd: FrozenIommufd,
}

impl PreservedFile for PreservedIommufd {
    /// 0, which is the data of no record, unless the iommufd is frozen.
    fn data(&self) -> u64 {
        self.frozen.as_ref().map_or(0, |frozen| {
            let place = Place {
                addr: frozen.record.addr().0,
                size: frozen.record.bytes().len(),
            };
            place.to_data()
        })
    }

    fn freeze(&mut self, session: &dyn OutgoingFiles) -> Result {
        // Undo an earlier freeze that was not unfrozen.
        self.frozen = None;
        let iommufd = self.iommufd.freeze()?;
        let items = iommufd.save().map_err(|refusal| {
            pr_err!("an iommufd refuses the kexec: {refusal}\n");
            refusal.errno()
        })?;
        self.frozen = Some(Frozen {
            record: write(self.kho, &items, session)?,
            _iommufd: iommufd,
        });
        Ok(())
    }

    fn unfreeze(&mut self) {
        self.frozen = None;
    }
}

/// Writes the record of an iommufd to memory that crosses.
///
/// `EBUSY` if the session does not have a file that is mapped, `E2BIG` if the record is too large,
/// `EIO` if it is none that the next kernel would take, `ENOMEM`.
fn write(kho: Kho, items: &[Item], session: &dyn OutgoingFiles) -> Result<PreservedMemory> {
    let is_area = |item: &&Item| matches!(item.part(), Some(Part::Area(..)));
    let areas = items.iter().filter(is_area).count();
    let objects = items.len() - areas;
    let size = record::size(objects, areas).ok_or(E2BIG)?;
    let mut memory = PreservedMemory::new(kho, size)?;
    let mut writer = Writer::new(memory.bytes_mut(), objects, areas).ok_or(E2BIG)?;
    // Areas of one file mostly follow each other.
    let mut last: Option<(&File, u64)> = None;
    for item in items {
        let written = match item.part().ok_or(EIO)? {
            Part::Object(object) => writer.object(&with_device(object, items)),
            Part::Area(mapping, file) => {
                let token = match last {
                    Some((known, token)) if core::ptr::eq(known, file) => token,
                    _ => token_of(session, &mapping, file)?,
                };
                last = Some((file, token));
                writer.area(&Area { mapping, token })
            }
        };
        written.ok_or(EIO)?;
    }
    // What the next kernel would not take is lost after the kexec.
    Record::new(memory.bytes()).map_err(|why| {
        pr_err!("an iommufd refuses the kexec, because the next kernel would: {why}\n");
        EIO
    })?;
    Ok(memory)
}

/// The object; if it is a HWPT, with a device that is attached to it.
fn with_device(object: Object, items: &[Item]) -> Object {
    let Object::Hwpt { id, ioas, auto, .. } = object else {
        return object;
    };
    let device = items.iter().find_map(|item| match item.part() {
        Some(Part::Object(Object::Device {
            id: device, hwpt, ..
        })) if hwpt == id => Some(device),
        _ => None,
    });
    Object::Hwpt {
        id,
        ioas,
        auto,
        // The check of the record reports that there is none.
        device: device.unwrap_or(0),
    }
}

/// The token of a file that is mapped. `EBUSY` if it has none.
fn token_of(session: &dyn OutgoingFiles, mapping: &Mapping, file: &File) -> Result<u64> {
    session.token_of(file).map_err(|err| {
        if err != ENOENT {
            return err;
        }
        pr_err!(
            "an iommufd refuses the kexec: IOVA {:#x} of IOAS {} is mapped to \"{}\", \
             a file that its session does not have\n",
            mapping.iova,
            mapping.ioas,
            FileName::of(file)
        );
        EBUSY
    })
}

/// The memory of a record.
fn claim(handover: &Handover, data: u64) -> Result<ClaimedMemory, Damage> {
    let place = Place::from_data(data).map_err(Damage::Content)?;
    handover.claim(PhysAddr(place.addr), place.size)
}

/// What an iommufd consists of, with the files that it maps.
fn items_of(record: &Record<'_>, session: &dyn IncomingFiles) -> Result<KVVec<Item>, Failure> {
    let mut items = KVVec::with_capacity(record.len(), GFP_KERNEL)?;
    for object in record.objects() {
        items.push(Item::object(&object), GFP_KERNEL)?;
    }
    // Areas of one file mostly follow each other.
    let mut last: Option<(u64, ARef<File>)> = None;
    for Area { mapping, token } in record.areas() {
        let file = match last {
            Some((known, file)) if known == token => file,
            _ => retrieve_mapped(session, token)?,
        };
        items.push(Item::area(&mapping, file.clone()), GFP_KERNEL)?;
        last = Some((token, file));
    }
    Ok(items)
}

/// A file that is mapped. A token that the session does not have is damage.
fn retrieve_mapped(session: &dyn IncomingFiles, token: u64) -> Result<ARef<File>, Failure> {
    session.retrieve(token).map_err(|err| {
        if err == ENOENT {
            return Damage::Content("it maps a file that its session does not have").into();
        }
        pr_err!(
            "an iommufd cannot be retrieved: error {} of the file of token {token:#x}, which it maps\n",
            err.to_errno()
        );
        err.into()
    })
}
