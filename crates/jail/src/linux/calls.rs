//! seccomp: which system calls fail, and how.
//!
//! Everything is allowed but what is listed, and what is newer than this list. Landlock confines files
//! and ports; the list closes what Landlock leaves open.

use crate::JailError;

/// Takes the listed calls from this thread and whatever it starts; sockets, too, unless it may `connect`.
pub(super) fn restrict(connect: bool) -> Result<(), JailError> {
    filters::install(connect).map_err(|error| JailError::refused("seccomp", error))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod filters {
    pub(super) fn install(_connect: bool) -> Result<(), &'static str> {
        Err("no filter is written for this processor")
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filters {
    use seccompiler::SeccompCmpArgLen::Dword;
    use seccompiler::SeccompCmpOp::{self, Eq, MaskedEq, Ne};
    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
        sock_filter,
    };
    use std::collections::BTreeMap;

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// Calls that fail with EPERM whatever their arguments.
    const REFUSED: &[i64] = &[
        // Other processes: their memory, descriptors, pages. `tkill` does not say whose thread it means.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_process_mrelease,
        libc::SYS_kcmp,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_tkill,
        libc::SYS_migrate_pages,
        libc::SYS_move_pages,
        libc::SYS_ioprio_set,
        // What reaches files without opening them, which Landlock does not see.
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        FCHMODAT2,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_utimensat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_add_watch,
        libc::SYS_fanotify_init,
        libc::SYS_fanotify_mark,
        libc::SYS_quotactl,
        libc::SYS_quotactl_fd,
        // Programs that are no file.
        libc::SYS_execveat,
        libc::SYS_memfd_create,
        libc::SYS_memfd_secret,
        // Sockets other than the one kind; shared memory and queues, which any process of the user opens.
        libc::SYS_socketpair,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semctl,
        libc::SYS_semtimedop,
        libc::SYS_msgget,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_msgctl,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
        // Another view of the system.
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_personality,
        // Large parts of the kernel that nothing here needs.
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        // The machine itself. Needs privileges, of which there are none.
        libc::SYS_kexec_load,
        KEXEC_FILE_LOAD,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_clock_adjtime,
        libc::SYS_adjtimex,
        libc::SYS_acct,
        libc::SYS_syslog,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_vhangup,
        libc::SYS_lookup_dcookie,
    ];

    /// The older calls that AArch64 never had.
    #[cfg(target_arch = "x86_64")]
    const REFUSED_HERE: &[i64] = &[
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_futimesat,
        libc::SYS_inotify_init,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_modify_ldt,
        libc::SYS_ustat,
        libc::SYS_sysfs,
    ];
    #[cfg(target_arch = "aarch64")]
    const REFUSED_HERE: &[i64] = &[];

    /// Calls that fail with ENOSYS, so that callers take the older way: `clone3` hides its flags from
    /// filters, rings of operations hide the operations.
    const ABSENT: &[i64] =
        &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    /// `futex_requeue`: later calls were not looked at, and fail with ENOSYS. From 424 on every
    /// processor has the same numbers.
    const LAST_KNOWN: u32 = 456;
    /// x86-64 can be called with 32-bit pointers under other numbers, which start here.
    const X32: u32 = 0x4000_0000;
    const FCHMODAT2: i64 = 452;
    #[cfg(target_arch = "x86_64")]
    const KEXEC_FILE_LOAD: i64 = 320;
    #[cfg(target_arch = "aarch64")]
    const KEXEC_FILE_LOAD: i64 = 294;

    /// The types of socket that are not a stream, in the bits that hold the type.
    const OTHER_SOCKETS: [u64; 15] = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const SOCKET_TYPE: u64 = 0xf;
    /// Commands that send signals to other processes or hold up who opens a file.
    const FCNTL_REFUSED: [i32; 5] = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX, libc::F_SETLEASE, libc::F_NOTIFY];
    const F_SETSIG: i32 = 10;
    const F_SETOWN_EX: i32 = 15;
    /// Input to a terminal as if it were typed, and signals as above: TIOCSTI, TIOCLINUX, FIOSETOWN,
    /// SIOCSPGRP.
    const IOCTL_REFUSED: [u64; 4] = [0x5412, 0x541c, 0x8901, 0x8902];

    pub(super) fn install(connect: bool) -> Result<(), seccompiler::Error> {
        let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
        apply_filter(&gate())?;
        apply_filter(&compile(absent, errno(libc::ENOSYS))?)?;
        apply_filter(&compile(refused(connect)?, errno(libc::EPERM))?)
    }

    fn errno(number: i32) -> SeccompAction {
        SeccompAction::Errno(number.unsigned_abs())
    }

    /// Also kills whoever calls in the way of another processor, as 32-bit programs do.
    fn compile(rules: Rules, action: SeccompAction) -> Result<BpfProgram, BackendError> {
        let here = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, SeccompAction::Allow, action, here)?.try_into()
    }

    /// Answers by ranges of numbers, for which `seccompiler` has no rule.
    fn gate() -> BpfProgram {
        // Classic BPF, linux/bpf_common.h: load the number (the first word), compare, return.
        const LOAD: u16 = 0x20;
        const IF_GREATER: u16 = 0x25;
        const IF_NOT_LESS: u16 = 0x35;
        const RETURN: u16 = 0x06;
        let step = |code, k| sock_filter { code, jt: 0, jf: 0, k };
        let skip_unless = |code, k| sock_filter { code, jt: 0, jf: 1, k };
        vec![
            step(LOAD, 0),
            skip_unless(IF_NOT_LESS, X32),
            step(RETURN, SeccompAction::KillProcess.into()),
            skip_unless(IF_GREATER, LAST_KNOWN),
            step(RETURN, errno(libc::ENOSYS).into()),
            step(RETURN, SeccompAction::Allow.into()),
        ]
    }

    fn refused(connect: bool) -> Result<Rules, BackendError> {
        let mut rules: Rules = REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
        processes(&mut rules)?;
        commands(&mut rules)?;
        if connect {
            sockets(&mut rules)?;
        } else {
            rules.extend([(libc::SYS_socket, Vec::new()), (libc::SYS_connect, Vec::new())]);
        }
        Ok(rules)
    }

    /// Threads, but no children; signals, limits and priorities of this process alone.
    fn processes(rules: &mut Rules) -> Result<(), BackendError> {
        const THREAD: u64 = libc::CLONE_THREAD as u64;
        rules.insert(libc::SYS_clone, vec![when(&[(0, MaskedEq(THREAD), 0)])?]);
        // The number that the program will have, too.
        let own = u64::from(std::process::id());
        for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo]
        {
            rules.insert(call, vec![when(&[(0, Ne, own)])?]);
        }
        rules.insert(libc::SYS_prlimit64, vec![when(&[(0, Ne, 0), (0, Ne, own)])?]);
        let scheduling = [
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setattr,
        ];
        for call in scheduling {
            rules.insert(call, vec![when(&[(0, Ne, 0)])?]);
        }
        // Its group and its user have other members.
        let process = u64::from(libc::PRIO_PROCESS);
        rules.insert(libc::SYS_setpriority, vec![when(&[(0, Ne, process)])?, when(&[(1, Ne, 0)])?]);
        Ok(())
    }

    fn commands(rules: &mut Rules) -> Result<(), BackendError> {
        let fcntl: Result<_, _> =
            FCNTL_REFUSED.map(number).iter().map(|command| when(&[(1, Eq, *command)])).collect();
        rules.insert(libc::SYS_fcntl, fcntl?);
        let ioctl: Result<_, _> = IOCTL_REFUSED.iter().map(|request| when(&[(1, Eq, *request)])).collect();
        rules.insert(libc::SYS_ioctl, ioctl?);
        Ok(())
    }

    /// TCP over IPv4 and IPv6, and nothing else that counts as a stream, as MPTCP does, which Landlock
    /// does not see. Nor a connection opened by sending, which is no `connect`.
    fn sockets(rules: &mut Rules) -> Result<(), BackendError> {
        let [ip4, ip6] = [libc::AF_INET, libc::AF_INET6].map(number);
        let [tcp, fast_open] = [libc::IPPROTO_TCP, libc::MSG_FASTOPEN].map(number);
        let mut socket = vec![when(&[(0, Ne, ip4), (0, Ne, ip6)])?, when(&[(2, Ne, 0), (2, Ne, tcp)])?];
        for other in OTHER_SOCKETS {
            socket.push(when(&[(1, MaskedEq(SOCKET_TYPE), other)])?);
        }
        rules.insert(libc::SYS_socket, socket);
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            rules.insert(call, vec![when(&[(flags, MaskedEq(fast_open), fast_open)])?]);
        }
        Ok(())
    }

    fn number(constant: i32) -> u64 {
        u64::from(constant.unsigned_abs())
    }

    /// Holds when all of the conditions on arguments (by index, from 0) hold. The kernel takes all of
    /// these arguments as 32 bits wide, so no more are compared.
    fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
        let conditions: Result<_, _> = conditions
            .iter()
            .map(|(index, operator, value)| SeccompCondition::new(*index, Dword, operator.clone(), *value))
            .collect();
        SeccompRule::new(conditions?)
    }
}
