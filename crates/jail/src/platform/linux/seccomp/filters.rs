//! The BPF filters that enforce the deny list.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction,
    SeccompCmpArgLen::Dword,
    SeccompCmpOp::{self, Eq, MaskedEq, Ne},
    SeccompCondition, SeccompFilter, SeccompRule, apply_filter, sock_filter,
};

use super::syscalls::{
    ABSENT, DENIED, DENIED_LEGACY, FCNTL_DENIED, IOCTL_DENIED, LAST_KNOWN, NON_STREAM_SOCKETS,
    SOCKET_TYPE_MASK, X32_FIRST,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters on the calling thread.
pub(super) fn install(connect: bool) -> Result<(), seccompiler::Error> {
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    apply_filter(&number_range_filter())?;
    apply_filter(&compile(absent, errno(libc::ENOSYS))?)?;
    apply_filter(&compile(denied(connect)?, errno(libc::EPERM))?)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// Compiles one filter. It also kills a process that uses another architecture's calls, as 32-bit
/// programs do.
fn compile(rules: Rules, action: SeccompAction) -> Result<BpfProgram, BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?.try_into()
}

/// The filter by ranges of call numbers, which `seccompiler` has no rules for: x32 calls kill the
/// process, calls newer than the deny list fail with ENOSYS.
fn number_range_filter() -> BpfProgram {
    // Classic BPF, linux/bpf_common.h: load the number (the first word), compare, return.
    const LOAD: u16 = 0x20;
    const IF_GREATER: u16 = 0x25;
    const IF_GREATER_OR_EQUAL: u16 = 0x35;
    const RETURN: u16 = 0x06;
    let step = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let skip_unless = |code, k| sock_filter { code, jt: 0, jf: 1, k };
    vec![
        step(LOAD, 0),
        skip_unless(IF_GREATER_OR_EQUAL, X32_FIRST),
        step(RETURN, SeccompAction::KillProcess.into()),
        skip_unless(IF_GREATER, LAST_KNOWN),
        step(RETURN, errno(libc::ENOSYS).into()),
        step(RETURN, SeccompAction::Allow.into()),
    ]
}

fn denied(connect: bool) -> Result<Rules, BackendError> {
    let mut rules: Rules = DENIED.iter().chain(DENIED_LEGACY).map(|call| (*call, Vec::new())).collect();
    restrict_processes(&mut rules)?;
    restrict_commands(&mut rules)?;
    if connect {
        restrict_sockets(&mut rules)?;
    } else {
        rules.extend([(libc::SYS_socket, Vec::new()), (libc::SYS_connect, Vec::new())]);
    }
    Ok(rules)
}

/// Allows threads, but no children; signals, limits and priorities only of this process.
fn restrict_processes(rules: &mut Rules) -> Result<(), BackendError> {
    const THREAD: u64 = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![when(&[(0, MaskedEq(THREAD), 0)])?]);
    // `exec` keeps the process id.
    let own = u64::from(std::process::id());
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
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
    // PRIO_PROCESS of itself only: its process group and its user have other processes.
    let process = u64::from(libc::PRIO_PROCESS);
    rules.insert(libc::SYS_setpriority, vec![when(&[(0, Ne, process)])?, when(&[(1, Ne, 0)])?]);
    Ok(())
}

/// Denies some commands of `fcntl` and `ioctl`.
fn restrict_commands(rules: &mut Rules) -> Result<(), BackendError> {
    let fcntl: Result<_, _> =
        FCNTL_DENIED.map(number).iter().map(|command| when(&[(1, Eq, *command)])).collect();
    rules.insert(libc::SYS_fcntl, fcntl?);
    let ioctl: Result<_, _> = IOCTL_DENIED.iter().map(|request| when(&[(1, Eq, *request)])).collect();
    rules.insert(libc::SYS_ioctl, ioctl?);
    Ok(())
}

/// Allows TCP over IPv4 and IPv6 only. Denies MPTCP, a stream that Landlock does not restrict, and TCP
/// Fast Open, which connects without `connect`.
fn restrict_sockets(rules: &mut Rules) -> Result<(), BackendError> {
    let [ip4, ip6] = [libc::AF_INET, libc::AF_INET6].map(number);
    let [tcp, fast_open] = [libc::IPPROTO_TCP, libc::MSG_FASTOPEN].map(number);
    let mut socket = vec![when(&[(0, Ne, ip4), (0, Ne, ip6)])?, when(&[(2, Ne, 0), (2, Ne, tcp)])?];
    for other in NON_STREAM_SOCKETS {
        socket.push(when(&[(1, MaskedEq(SOCKET_TYPE_MASK), other)])?);
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

/// A rule that matches when all conditions on arguments (by index, from 0) are met. Compares 32 bits,
/// which is what the kernel uses of each of these arguments.
fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions: Result<_, _> = conditions
        .iter()
        .map(|(index, operator, value)| SeccompCondition::new(*index, Dword, operator.clone(), *value))
        .collect();
    SeccompRule::new(conditions?)
}
