//! What is run in the image, and what must come of it.

/// A command in a fresh container.
#[derive(Debug)]
pub(super) struct Check {
    /// What it shows.
    pub(super) name: &'static str,
    /// Options of `hwb image run`.
    pub(super) options: &'static [&'static str],
    pub(super) argv: &'static [&'static str],
    /// The exit code, and the lines of standard output.
    pub(super) expected: &'static str,
    /// What else comes of it where there is one id.
    pub(super) one_id: Option<Difference>,
}

/// How one id shows.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) found: &'static str,
    /// In a sentence.
    pub(super) why: &'static str,
}

/// Installs two packages whose files belong to groups of their own, one of them setuid.
const APT: &str = "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq >/dev/null && \
     apt-get install -qq --no-install-recommends openssh-client dbus >/dev/null && \
     dpkg --audit && dpkg-query -W -f '${db:Status-Status}\\n' openssh-client dbus && \
     stat -c '%U:%G %a' /usr/bin/ssh-agent /usr/lib/dbus-1.0/dbus-daemon-launch-helper && ssh -V 2>&1 | cut -c1-7";

/// Installs a wheel of pure Python and one with native code.
const PIP: &str = "pip install --quiet --break-system-packages --root-user-action=ignore six markupsafe && \
     python3 -c 'import six, markupsafe._speedups; print(markupsafe.escape(\"<\"))'";

/// All of it, from small to large.
pub(super) const CHECKS: &[Check] = &[
    Check { name: "`true`", options: &[], argv: &["true"], expected: "0", one_id: None },
    Check {
        name: "exit code",
        options: &[],
        argv: &["sh", "-c", "echo said; exit 7"],
        expected: "7 said",
        one_id: None,
    },
    Check {
        name: "killed by a signal",
        options: &[],
        argv: &["sh", "-c", "kill -TERM $$"],
        expected: "143",
        one_id: None,
    },
    Check {
        name: "no such program",
        options: &[],
        argv: &["no-such-program"],
        expected: "127",
        one_id: None,
    },
    Check {
        name: "a file that is no program",
        options: &[],
        argv: &["/etc/passwd"],
        expected: "126",
        one_id: None,
    },
    Check {
        name: "files, links and modes",
        options: &[],
        argv: &[
            "sh",
            "-c",
            "mkdir /srv/a && cd /srv/a && echo one > f && ln f g && ln -s g l && mkfifo p && \
             truncate -s 9000 g && chmod 4755 f && stat -c '%n %F %a %h %s' f g l p && cat l | head -n 1",
        ],
        expected: "0 f regular file 4755 2 9000 / g regular file 4755 2 9000 / l symbolic link 777 1 1 / \
                   p fifo 644 1 0 / one",
        one_id: None,
    },
    Check {
        name: "whiteouts: what the image has is removed, made anew and renamed",
        options: &[],
        argv: &[
            "sh",
            "-c",
            "rm /etc/passwd- /etc/issue; rm -r /usr/share/doc; mv /etc/issue.net /etc/issue; \
             mv /etc/skel /etc/bones; ls -A /etc/bones; ls -d /etc/issue* /usr/share/doc 2>/dev/null",
        ],
        expected: "2 .bash_logout / .bashrc / .profile / /etc/issue",
        one_id: None,
    },
    Check {
        name: "an opaque directory",
        options: &[],
        argv: &["sh", "-c", "rm -r /etc/apt && mkdir /etc/apt && touch /etc/apt/own && ls -A /etc/apt"],
        expected: "0 own",
        one_id: None,
    },
    Check {
        name: "nothing of another run is there",
        options: &[],
        argv: &["sh", "-c", "ls -A /srv; ls -d /etc/apt/sources.list /etc/issue.net"],
        expected: "0 /etc/apt/sources.list / /etc/issue.net",
        one_id: None,
    },
    Check {
        name: "owners",
        options: &[],
        argv: &[
            "sh",
            "-c",
            "touch /srv/f && chown 33:34 /srv/f && stat -c %u:%g /srv/f /var/mail /etc/shadow",
        ],
        expected: "0 33:34 / 0:8 / 0:42",
        one_id: Some(Difference {
            found: "0 0:0 / 0:0 / 0:0",
            why: "there is nobody else that a file could belong to: `chown` succeeds and changes nothing, and what \
                  belongs to others in the image belongs to root",
        }),
    },
    Check {
        name: "capabilities of files",
        options: &[],
        argv: &["sh", "-c", "cp /bin/true /srv/t && setcap cap_net_bind_service+ep /srv/t && getcap /srv/t"],
        expected: "0 /srv/t cap_net_bind_service=ep",
        one_id: None,
    },
    Check {
        name: "what the command may do: on the host's network neither raw sockets nor low ports",
        options: &[],
        argv: &["grep", "-E", "^(CapEff|NoNewPrivs|Seccomp):", "/proc/self/status"],
        expected: "0 CapEff:\t00000000a80401fb / NoNewPrivs:\t1 / Seccomp:\t2",
        one_id: None,
    },
    Check {
        name: "another user",
        options: &["--user", "www-data"],
        argv: &["sh", "-c", "id -un; id -gn"],
        expected: "0 www-data / www-data",
        one_id: Some(Difference { found: "125", why: "a command can be nobody but root, and hwb says so" }),
    },
    Check {
        name: "`--read-only` and `--tmpfs`",
        options: &["--read-only", "--tmpfs", "/srv"],
        argv: &["sh", "-c", "echo x > /srv/x && cat /srv/x; echo y 2>/dev/null > /etc/y || echo refused"],
        expected: "0 x / refused",
        one_id: None,
    },
    Check {
        name: "`--network none`",
        options: &["--network", "none"],
        argv: &[
            "sh",
            "-c",
            "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; grep CapEff: /proc/self/status",
        ],
        expected: "0 lo / CapEff:\t00000000a80425fb",
        one_id: None,
    },
    Check {
        name: "`apt-get install openssh-client dbus`",
        options: &[],
        argv: &["sh", "-c", APT],
        expected: "0 installed / installed / root:_ssh 2755 / root:messagebus 4754 / OpenSSH",
        one_id: Some(Difference {
            found: "0 installed / installed / root:root 2755 / root:root 4754 / OpenSSH",
            why: "the packages are installed and configured; the groups that their files should belong to are made, \
                  and the files belong to root",
        }),
    },
    Check {
        name: "`pip install six markupsafe`",
        options: &["--env", "PIP_INDEX_URL", "--env", "PIP_CERT", "--env", "PIP_DEFAULT_TIMEOUT=180"],
        argv: &["sh", "-c", PIP],
        expected: "0 &lt;",
        one_id: None,
    },
];
