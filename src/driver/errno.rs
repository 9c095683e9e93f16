//! The error numbers that the driver distinguishes, as in completions and `io::Error`.

use rustix::io::Errno;

pub(super) const EADDRNOTAVAIL: i32 = Errno::ADDRNOTAVAIL.raw_os_error();
pub(super) const EAFNOSUPPORT: i32 = Errno::AFNOSUPPORT.raw_os_error();
pub(super) const EAGAIN: i32 = Errno::AGAIN.raw_os_error();
pub(super) const EBUSY: i32 = Errno::BUSY.raw_os_error();
pub(super) const ECANCELED: i32 = Errno::CANCELED.raw_os_error();
pub(super) const EINTR: i32 = Errno::INTR.raw_os_error();
pub(super) const EMFILE: i32 = Errno::MFILE.raw_os_error();
pub(super) const ENFILE: i32 = Errno::NFILE.raw_os_error();
pub(super) const ENOBUFS: i32 = Errno::NOBUFS.raw_os_error();
pub(super) const ENOMEM: i32 = Errno::NOMEM.raw_os_error();
pub(super) const EPROTONOSUPPORT: i32 = Errno::PROTONOSUPPORT.raw_os_error();
