# SPDX-License-Identifier: GPL-2.0-only
"""The cases of the forger in which the record of an iommufd is damaged.

The card itself goes on in all of them, and gets a new iommufd. What the card reaches is
in its page table, not in the record.
"""

from .forger_cases import GOES_ON, Case, Outcome
from .iommufd_record import AREA, DEVICE, HEADER, HWPT, OBJECT
from .witness import PAGE, PAGES

GROUP = "iommufd"
EIO, EINVAL, ELOOP, EADDRINUSE = 5, 22, 40, 98
# Tokens of selftests/lib/nic_cards.c, and one that no file has.
CARD_TOKEN, IOMMUFD_TOKEN, NO_TOKEN = 2, 9, 0x5eed

CASES = []


def damaged(why):
    """The iommufd cannot be retrieved, because its record is damaged."""
    return Outcome(0, (
        GOES_ON, "liveupdate_iommufd: a iommufd-v1 file from the previous kernel is "
        f"damaged: {why}"), False, f"forged-iommufd {EIO}")


def without_file(token, errno):
    """The iommufd cannot be retrieved, because a file cannot that it maps."""
    return Outcome(0, (
        GOES_ON, f"liveupdate_iommufd: an iommufd cannot be retrieved: error -{errno} "
        f"of the file of token {token:#x}, which it maps"), False,
        f"forged-iommufd {errno}")


def without_table(errno):
    """The iommufd is retrieved, and the card cannot be bound to it, because its page
    table cannot be filled."""
    return Outcome(0, (GOES_ON,), False, f"forged-table {errno}")


def case(outcome):
    """A function that makes the change of a case."""
    def add(change):
        CASES.append(Case(change.__name__.replace("_", "-"), GROUP, outcome,
                          lambda handover: change(handover.iommufd), False))
        return change
    return add


# The whole record.

@case(damaged("its record is of another version"))
def record_version(record):
    record.change(magic=b"iommufd2")


@case(damaged("its record is larger than its memory"))
def record_too_large(record):
    objects = record.counts[0] * OBJECT.size
    record.change(areas=(PAGE - HEADER.size - objects) // AREA.size + 1)


@case(damaged("something follows its record"))
def record_with_more(record):
    record.ram[record.at + PAGE - 1] = 1


# Objects.

@case(damaged("it has an object of an unknown type"))
def object_type(record):
    record.change_object(HWPT, type=4)


@case(damaged("it has unknown flags"))
def object_flags(record):
    record.change_object(DEVICE, flags=1)


@case(damaged("an object has an ID that iommufd never gives"))
def object_id_0(record):
    record.change_object(DEVICE, id=0)


@case(damaged("its objects are not in the order of their IDs"))
def object_id_twice(record):
    record.change_object(HWPT, id=record.objects()[-2].id)


@case(damaged("no device is attached to a page table"))
def table_without_device(record):
    record.change_object(HWPT, device=0)


# Areas. The last one is not used by the card.

@case(damaged("an area belongs to no IOAS"))
def area_without_space(record):
    record.change_last_area(ioas=record.objects()[-1].id)


@case(damaged("areas overlap, or are not in the order of their IOVAs"))
def areas_overlap(record):
    before = record.areas()[-2]
    record.change_last_area(iova=before.iova + before.length - PAGE)


@case(damaged("an area has no end"))
def area_without_end(record):
    record.change_last_area(iova=(1 << 64) - PAGE)


# As many bytes as iommufd would take, but the number of their pages overflows.
@case(damaged("an area ends where no file can"))
def area_of_everything(record):
    record.keep_one_area(iova=0, offset=PAGE - 1, length=(1 << 64) - PAGE - 1)


# No page table exists until the card is bound, so nothing looks at this before.
@case(without_table(EADDRINUSE))
def area_in_page(record):
    record.change_last_area(iova=record.areas()[-1].iova + 8)


@case(without_table(EINVAL))
def area_after_file(record):
    record.change_last_area(offset=PAGES * PAGE)


# Files.

@case(damaged("it maps a file that its session does not have"))
def token_of_no_file(record):
    record.change_last_area(token=NO_TOKEN)


@case(without_file(IOMMUFD_TOKEN, ELOOP))
def token_of_itself(record):
    record.change_last_area(token=IOMMUFD_TOKEN)


# Retrieving the iommufd retrieves the card, which is no memory.
@case(damaged("an iommufd cannot be as its record says"))
def token_of_card(record):
    record.change_last_area(token=CARD_TOKEN)
