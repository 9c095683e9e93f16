//! The CPU quota of the process's control group.
//!
//! ```text
//!   /proc/self/cgroup      which group, of each hierarchy       4:cpu,cpuacct:/docker/5f1  0::/app
//!   /proc/self/mountinfo   where its hierarchy is mounted       /sys/fs/cgroup/cpu
//!          |
//!   that group's folder, then each one above it, up to the mount point: the smallest quota counts
//!          v2: cpu.max             "150000 100000", quota and period in microseconds, or "max"
//!          v1: cpu.cfs_quota_us    150000, or -1 for none; cpu.cfs_period_us  100000
//! ```
//!
//! A container often sees only its own group, mounted as the root. The path in `/proc/self/cgroup`
//! then begins with the root of the mount, or leads out of it. A file that is missing or invalid
//! counts as no quota: the gateway starts all the same.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// The CPU time that a control group grants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Quota {
    /// CPU time in each period, in microseconds.
    quota_us: u64,
    /// Length of a period, in microseconds; not zero.
    period_us: u64,
}

/// A control group hierarchy with the CPU controller, as this process sees it.
#[derive(Debug, Eq, PartialEq)]
struct Hierarchy {
    version: Version,
    /// Path, within the hierarchy, of the group that is mounted.
    root: PathBuf,
    /// The mount point.
    mounted_at: PathBuf,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    V1,
    V2,
}

/// Returns the CPU quota of this process in cores, rounded up and at least 1, or `None` if it has
/// none. The smallest quota of the process's own groups and of their ancestors counts.
///
/// `root` is the folder that contains `proc` and `sys`: `/`, except in tests.
pub(super) fn quota_cores(root: &Path) -> Option<usize> {
    let groups = read(root, Path::new("/proc/self/cgroup"))?;
    let groups = String::from_utf8_lossy(&groups).into_owned();
    let hierarchies = match read(root, Path::new("/proc/self/mountinfo")) {
        Some(mounts) => Hierarchy::parse_mounts(&mounts),
        None => Hierarchy::usual(),
    };
    let quotas = hierarchies.iter().filter_map(|hierarchy| {
        let group = group_of(&groups, hierarchy.version)?;
        hierarchy.smallest_cores(root, Path::new(group))
    });
    quotas.min()
}

/// Returns the path of this process's group in the hierarchy that limits CPU time, or `None` if the
/// process is in no hierarchy of that version.
///
/// A line is `hierarchy-ID:controllers:path`; version 2 has the ID 0 and no controllers.
fn group_of(groups: &str, version: Version) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match version {
            Version::V1 => controllers.split(',').any(|it| it == "cpu"),
            Version::V2 => id == "0" && controllers.is_empty(),
        };
        is_it.then_some(path)
    })
}

impl Hierarchy {
    /// Parses `/proc/self/mountinfo` and skips the mounts that are no control groups.
    ///
    /// ```text
    ///   33 31 0:30 /docker/5f1 /sys/fs/cgroup/cpu ro,relatime shared:9 - cgroup cgroup rw,cpu
    ///              root        mounted at                                type          options
    /// ```
    fn parse_mounts(mounts: &[u8]) -> Vec<Self> {
        let lines = mounts.split(|&byte| byte == b'\n');
        lines.filter_map(Self::parse_line).collect()
    }

    fn parse_line(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = unescaped(fields.nth(3)?);
        let mounted_at = unescaped(fields.next()?);
        let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
        let version = match rest.next()? {
            b"cgroup2" => Version::V2,
            b"cgroup" => {
                let mut options = rest.nth(1)?.split(|&byte| byte == b',');
                options.find(|&option| option == b"cpu")?;
                Version::V1
            }
            _ => return None,
        };
        Some(Self {
            version,
            root,
            mounted_at,
        })
    }

    /// Returns the usual mount points, for when `/proc/self/mountinfo` cannot be read.
    fn usual() -> Vec<Self> {
        let mounted = |version, at: &str| Self {
            version,
            root: PathBuf::from("/"),
            mounted_at: PathBuf::from(at),
        };
        vec![
            mounted(Version::V2, "/sys/fs/cgroup"),
            mounted(Version::V1, "/sys/fs/cgroup/cpu"),
            mounted(Version::V1, "/sys/fs/cgroup/cpu,cpuacct"),
        ]
    }

    /// Returns the smallest quota, in cores, of a group and of its ancestors up to the mount point.
    fn smallest_cores(&self, root: &Path, group: &Path) -> Option<usize> {
        let below = group
            .strip_prefix(&self.root)
            .unwrap_or_else(|_| Path::new(""));
        let is_plain = |it: Component<'_>| matches!(it, Component::Normal(_));
        // In a cgroup namespace, a group outside the mount appears at the mount point.
        let below = if below.components().all(is_plain) {
            below
        } else {
            Path::new("")
        };
        let groups = below.ancestors().map(|above| self.mounted_at.join(above));
        let quotas = groups.filter_map(|folder| self.version.read_quota(root, &folder));
        quotas.map(Quota::cores).min()
    }
}

impl Version {
    /// Reads the quota of one group; `None` if it has none or its files are missing or invalid.
    fn read_quota(self, root: &Path, folder: &Path) -> Option<Quota> {
        let text = |file: &str| {
            let bytes = read(root, &folder.join(file))?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        match self {
            Self::V1 => Quota::parse(&text("cpu.cfs_quota_us")?, &text("cpu.cfs_period_us")?),
            Self::V2 => {
                let text = text("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                Quota::parse(quota, period)
            }
        }
    }
}

impl Quota {
    /// Parses a quota and its period, both in microseconds; `None` for `max`, `-1`, a period of
    /// zero and text that is no number.
    fn parse(quota: &str, period: &str) -> Option<Self> {
        let quota_us = quota.trim().parse().ok()?;
        let period_us = period.trim().parse().ok()?;
        let quota = Self {
            quota_us,
            period_us,
        };
        (period_us > 0).then_some(quota)
    }

    /// Returns the quota in cores, rounded up, at least 1.
    fn cores(self) -> usize {
        let cores = self.quota_us.div_ceil(self.period_us).max(1);
        usize::try_from(cores).unwrap_or(usize::MAX)
    }
}

/// Decodes a path of `mountinfo`, which escapes spaces and backslashes as `\040` and the like.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|it| str::from_utf8(it).ok());
        let escaped = digits.and_then(|it| u8::from_str_radix(it, 8).ok());
        if let Some(byte) = escaped.filter(|_| first == b'\\') {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Reads at most [`FILE_BYTES_MAX`] bytes of a file below `root`; `None` if it cannot be read.
fn read(root: &Path, path: &Path) -> Option<Vec<u8>> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let file = File::open(root.join(below)).ok()?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A machine with many containers has some hundred kilobytes of mounts.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder with a machine's files, removed on drop.
    struct Machine(PathBuf);

    impl Machine {
        /// A machine with these files: paths and contents.
        fn with(files: &[(&str, &str)]) -> Self {
            let test = std::thread::current().name().unwrap_or("main").to_owned();
            let test = test.replace("::", "-");
            let name = format!("campanile-cgroup-{}-{test}", std::process::id());
            let root = std::env::temp_dir().join(name);
            drop(fs::remove_dir_all(&root)); // usually there is none
            let machine = Self(root);
            for (path, content) in files {
                machine.write(path, content);
            }
            machine
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.0.join(path);
            let folder = path.parent().expect("below the root");
            fs::create_dir_all(folder).expect("the temporary folder is writable");
            fs::write(path, content).expect("the temporary folder is writable");
        }

        fn cores(&self) -> Option<usize> {
            quota_cores(&self.0)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            // If this fails, the system cleans its temporary folder.
            drop(fs::remove_dir_all(&self.0));
        }
    }

    const V2_MOUNT: &str = "24 1 0:22 / /proc rw - proc proc rw\n\
        35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
        33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_quota_is_rounded_up_to_whole_cores() {
        let machine = Machine::with(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
        ]);
        for (content, cores) in [
            ("200000 100000\n", Some(2)),
            ("150000 100000\n", Some(2)),
            ("100001 100000\n", Some(2)),
            ("100000 100000\n", Some(1)),
            ("5000 100000\n", Some(1)),
            ("0 100000\n", Some(1)),
            ("6400000 100000\n", Some(64)),
            ("max 100000\n", None),
        ] {
            machine.write("sys/fs/cgroup/cpu.max", content);
            assert_eq!(machine.cores(), cores, "{content:?}");
        }
    }

    #[test]
    fn the_smallest_quota_up_to_the_root_counts() {
        let machine = Machine::with(&[
            ("proc/self/cgroup", "0::/kube/pod/app\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/kube/pod/app/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(machine.cores(), None);
        machine.write("sys/fs/cgroup/cpu.max", "800000 100000\n");
        assert_eq!(machine.cores(), Some(8));
        machine.write("sys/fs/cgroup/kube/cpu.max", "300000 100000\n");
        assert_eq!(machine.cores(), Some(3));
        machine.write("sys/fs/cgroup/kube/pod/app/cpu.max", "500000 100000\n");
        assert_eq!(machine.cores(), Some(3));
        machine.write("sys/fs/cgroup/kube/pod/cpu.max", "20000 10000\n");
        assert_eq!(machine.cores(), Some(2));
        // Not one of those above it.
        machine.write("sys/fs/cgroup/kube/pod2/cpu.max", "10000 10000\n");
        assert_eq!(machine.cores(), Some(2));
    }

    #[test]
    fn a_quota_of_version_1_is_two_files() {
        let machine = Machine::with(&[
            (
                "proc/self/cgroup",
                "9:cpuset:/\n4:cpu,cpuacct:/docker/5f\n1:name=systemd:/\n0::/\n",
            ),
            ("proc/self/mountinfo", V1_MOUNTS),
        ]);
        let own = "sys/fs/cgroup/cpu,cpuacct/docker/5f";
        assert_eq!(machine.cores(), None, "nothing is there");
        machine.write(&format!("{own}/cpu.cfs_quota_us"), "250000\n");
        assert_eq!(machine.cores(), None, "half of it is there");
        machine.write(&format!("{own}/cpu.cfs_period_us"), "100000\n");
        assert_eq!(machine.cores(), Some(3));
        machine.write(&format!("{own}/cpu.cfs_quota_us"), "-1\n");
        assert_eq!(machine.cores(), None);
        let above = "sys/fs/cgroup/cpu,cpuacct/docker";
        machine.write(&format!("{above}/cpu.cfs_quota_us"), "100000\n");
        machine.write(&format!("{above}/cpu.cfs_period_us"), "100000\n");
        assert_eq!(machine.cores(), Some(1));
    }

    #[test]
    fn of_two_hierarchies_the_one_that_grants_less_counts() {
        let machine = Machine::with(&[
            ("proc/self/cgroup", "1:cpu:/a\n0::/b\n"),
            ("proc/self/mountinfo", V1_MOUNTS),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "400000"),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000"),
            ("sys/fs/cgroup/unified/b/cpu.max", "300000 100000"),
        ]);
        assert_eq!(machine.cores(), Some(3));
    }

    /// A container that shares its host's cgroup namespace: the path is the host's, and what is
    /// mounted is the container's own group.
    #[test]
    fn the_path_begins_with_the_root_of_the_mount() {
        let machine = Machine::with(&[
            ("proc/self/cgroup", "4:cpu:/docker/5f/sub\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 /docker/5f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
            ),
            ("sys/fs/cgroup/cpu/sub/cpu.cfs_quota_us", "-1"),
            ("sys/fs/cgroup/cpu/sub/cpu.cfs_period_us", "100000"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ]);
        assert_eq!(machine.cores(), Some(2));
    }

    #[test]
    fn a_group_out_of_sight_is_taken_for_what_is_mounted() {
        for group in ["0::/../other\n", "0::/somewhere/else\n", "0::relative\n"] {
            let machine = Machine::with(&[
                ("proc/self/cgroup", group),
                (
                    "proc/self/mountinfo",
                    "35 24 0:30 /app /sys/fs/cgroup ro - cgroup2 cgroup ro\n",
                ),
                ("sys/fs/cgroup/cpu.max", "200000 100000"),
                ("sys/fs/other/cpu.max", "100000 100000"),
            ]);
            assert_eq!(machine.cores(), Some(2), "{group:?}");
        }
    }

    #[test]
    fn a_mount_point_may_have_blanks_in_its_name() {
        let machine = Machine::with(&[
            ("proc/self/cgroup", "0::/a b\\c\n"),
            (
                "proc/self/mountinfo",
                "35 24 0:30 / /my\\040groups\\134x rw - cgroup2 cgroup2 rw\n",
            ),
            ("my groups\\x/a b\\c/cpu.max", "200000 100000"),
        ]);
        assert_eq!(machine.cores(), Some(2));
    }

    #[test]
    fn without_a_list_of_mounts_the_usual_places_are_looked_at() {
        for (group, files) in [
            ("0::/a\n", vec![("cgroup/a/cpu.max", "200000 100000")]),
            (
                "3:cpu,cpuacct:/a\n",
                vec![
                    ("cgroup/cpu/a/cpu.cfs_quota_us", "200000"),
                    ("cgroup/cpu/a/cpu.cfs_period_us", "100000"),
                ],
            ),
        ] {
            let machine = Machine::with(&[("proc/self/cgroup", group)]);
            for (path, content) in files {
                machine.write(&format!("sys/fs/{path}"), content);
            }
            assert_eq!(machine.cores(), Some(2), "{group:?}");
        }
    }

    #[test]
    fn what_is_missing_or_not_understood_is_no_quota() {
        assert_eq!(Machine::with(&[]).cores(), None);
        let machine = Machine::with(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cpu.max", "900000 100000"),
        ]);
        for content in [
            "",
            "\n",
            "max",
            "200000",
            "200000 0",
            "200000 x",
            "x 100000",
            "-1 100000",
            "200000 100000 1",
            "99999999999999999999999 100000",
            "\u{fffd}",
        ] {
            machine.write("sys/fs/cgroup/a/cpu.max", content);
            assert_eq!(machine.cores(), Some(9), "{content:?}: only the one above");
        }
        for groups in ["", "\n", "0", "0:", "0::", "garbage\n", "1:memory:/a\n"] {
            machine.write("proc/self/cgroup", groups);
            let is_root = groups == "0::";
            assert_eq!(machine.cores(), is_root.then_some(9), "{groups:?}");
        }
        machine.write("proc/self/cgroup", "0::/a\n");
        for mounts in [
            "",
            "35",
            "35 24 0:30 /",
            "a b c d e f g\n",
            "1 2 3 / /x rw -",
        ] {
            machine.write("proc/self/mountinfo", mounts);
            assert_eq!(machine.cores(), None, "{mounts:?}");
        }
    }
}
