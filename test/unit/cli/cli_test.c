/* The command line as an operator runs it: the program itself against a fake node, with its output, its words
 * on standard error and its exit code.
 */
#include "test/unit/cli/run.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t lines(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += *s == '\n';
    return n;
}

static int setup(void **state)
{
    (void)state;
    fake_server_start(&server, 0);
    setenv("TURNPIKE_SOCKET", server.socket, 1);
    unsetenv("TURNPIKE_URL");
    unsetenv("TURNPIKE_TOKEN_FILE");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_server_stop(&server);
    return 0;
}

/* A chroot or container without /dev/ptmx or devpts, or one that may not use them; running out of either
 * processes or terminals is none of these. */
static bool no_terminals(int err)
{
    return err == ENOENT || err == ENXIO || err == ENODEV || err == EPERM || err == EACCES;
}

/* As run, on a terminal of 100 columns whose user types `typed`, a line after each "? " or ": " that is
 * shown; what the terminal showed is r.out. */
static int run_tty(const char *typed, const char *args)
{
    char copy[1024], *argv[64] = { (char *)(uintptr_t) "turnpike" };
    int n = 1, tty, status;
    struct winsize ws = { .ws_row = 25, .ws_col = 100 };
    snprintf(copy, sizeof(copy), "%s", args);
    for (char *p = strtok(copy, " "); p != NULL && n < 63; p = strtok(NULL, " "))
        argv[n++] = p;
    fake_node_sync(&server.node);
    pid_t pid = forkpty(&tty, NULL, NULL, &ws);
    if (pid < 0 && no_terminals(errno)) {
        print_message("skipped: this machine has no pseudo-terminals (%s)\n", strerror(errno));
        skip();
    }
    assert_true(pid >= 0);
    if (pid == 0) {
        execv(TURNPIKE_BINARY, argv);
        _exit(99);
    }
    size_t len = 0;
    for (;;) {
        ssize_t got = read(tty, r.out + len, sizeof(r.out) - 1 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        r.out[len] = '\0';
        bool asks = len > 2 && (strcmp(r.out + len - 2, ": ") == 0 || strcmp(r.out + len - 2, "] ") == 0);
        size_t line = strcspn(typed, "\n");
        if (asks && typed[line] == '\n') {
            assert_true(write(tty, typed, line + 1) == (ssize_t)line + 1);
            typed += line + 1;
        }
    }
    close(tty);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    fake_node_sync(&server.node);
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return r.code;
}

/* ---- views --------------------------------------------------------------------------------------------- */

static void test_status(void **state)
{
    (void)state;
    assert_int_equal(run("status"), CLI_OK);
    expect_in(r.out, "n1.example.com  running");
    expect_in(r.out, "up 1d2h");
    expect_in(r.out, "50.0 MiB");
    expect_in(r.out, "4 messages, 8 recipients (0 active, 0 deferred, 1 held), oldest 5h ago");
    assert_null(strchr(r.out, '\x1b')); /* no colour in a pipe */
    assert_int_equal(run("status --json"), CLI_OK);
    json_t *j = out_json();
    assert_int_equal(cli_int(json_object_get(j, "queue"), "recipients"), 8);
    json_decref(j);
}

static void test_lists(void **state)
{
    (void)state;
    assert_int_equal(run("queue list"), CLI_OK);
    assert_int_equal(lines(r.out), 9);
    expect_in(r.out, "0000000000AA1");
    expect_in(r.out, "bob@slow.test");
    expect_in(r.out, "<>");
    assert_null(strchr(r.out, '\r'));
    assert_int_equal(run("queue list --site slow.test --reply-match=grey.*later --json"), CLI_OK);
    json_t *j = out_json();
    assert_int_equal(json_array_size(json_object_get(j, "recipients")), 4);
    json_decref(j);
    assert_int_equal(run("queue list --limit 3"), CLI_OK);
    assert_int_equal(lines(r.out), 4);
    expect_in(r.err, "--after 0000000000AA1.2");
    assert_int_equal(run("queue list --limit 3 --after 0000000000AA1.2"), CLI_OK);
    expect_in(r.out, "0000000000BB2");
    assert_int_equal(run("queue list 0000000000aa1 0000000000DD4 --limit 0"), CLI_OK);
    assert_int_equal(lines(r.out), 5);
    assert_int_equal(run("queue list --site nowhere.test"), CLI_OK);
    assert_string_equal(r.out, "");
    expect_in(r.err, "nothing in the queue matches");
    assert_int_equal(run("site list --state down"), CLI_OK);
    expect_in(r.out, "connect: refused");
    assert_int_equal(run("queue summary"), CLI_OK);
    expect_in(r.out, "slow.test");
    expect_in(r.out, "1280+");
    assert_int_equal(run("top"), CLI_OK);
    expect_in(r.out, "anna@example.com");
    assert_int_equal(run("track --message-id m1@example.com --since 2h"), CLI_OK);
    assert_int_equal(lines(r.out), 5);
    assert_int_equal(run("track 0000000000ZZ9"), CLI_NOT_FOUND);
    assert_int_equal(run("privacy export anna@example.com"), CLI_OK);
    expect_in(r.out, "sent");
    expect_in(r.out, "received");
    assert_int_equal(run("privacy export nobody"), CLI_USAGE);
}

static void test_show_escapes_what_peers_said(void **state)
{
    (void)state;
    assert_int_equal(run("queue show 0000000000AA1"), CLI_OK);
    assert_null(strchr(r.out, '\x1b'));
    expect_in(r.out, "desk\\x1b[31m");
    expect_in(r.out, "bob@slow.test  queued, 3 attempt(s)");
    assert_int_equal(run("queue show 0000000000ZZ9"), CLI_NOT_FOUND);
    expect_in(r.err, "turnpike: there is no message 0000000000ZZ9 in the queue\n");
    assert_int_equal(run("queue show ../../v1/status"), CLI_USAGE);
    assert_int_equal(run("queue show 0000000000ZZ9 --json"), CLI_NOT_FOUND);
    json_t *j = out_json();
    assert_string_equal(cli_str(json_object_get(j, "error"), "code"), "not_found");
    json_decref(j);
}

static void test_cat(void **state)
{
    (void)state;
    assert_int_equal(run("queue cat 0000000000AA1 --headers"), CLI_OK);
    assert_string_equal(r.out, "Subject: hello\r\n\r\n");
    assert_int_equal(run("queue cat 0000000000BB2"), CLI_OK);
    assert_int_equal(r.out_len, sizeof(r.out) - 1); /* as much as fits here */
    assert_int_equal(run("queue cat 0000000000DD4"), CLI_UNREACHABLE);
    expect_in(r.err, "broke off");
    assert_int_equal(run("queue cat XYZ"), CLI_NOT_FOUND);
}

static void test_ip_check(void **state)
{
    (void)state;
    assert_int_equal(run("ip check"), CLI_FAILED);
    expect_in(r.out, "no PTR record");
    expect_in(r.out, "1 clean, 1 broken");
    expect_in(r.out, "192.0.2.1: the list odd.example.net is not believed: it lists 127.0.0.1\n");
    assert_int_equal(run("ip check 192.0.2.1"), CLI_OK);
    assert_int_equal(run("ip check 192.0.2.99"), CLI_NOT_FOUND);
}

static void test_domain_check(void **state)
{
    (void)state;
    assert_int_equal(run("domain check example.com"), CLI_OK);
    expect_in(r.out, "by all of example.com");
    assert_int_equal(run("domain check example.com --ip 192.0.2.7 --ip 2001:db8::7 --pool bulk"), CLI_OK);
    expect_in(r.out, "192.0.2.7,2001:db8::7");
    assert_int_equal(run("domain check example.com --selector a --selector b"), CLI_FAILED);
    expect_in(r.out, "a,b");
    expect_in(r.out, "trouble: publish it\n");
    assert_int_equal(run("domain check example.com --selector a --json"), CLI_FAILED);
    json_t *j = out_json();
    assert_int_equal(json_array_size(json_object_get(j, "findings")), 2);
    json_decref(j);
    assert_int_equal(run("domain check example.com --pool other"), CLI_NOT_FOUND);
    assert_int_equal(run("domain check"), CLI_USAGE);
}

/* ---- acts ---------------------------------------------------------------------------------------------- */

static void test_acts(void **state)
{
    (void)state;
    assert_int_equal(run("queue hold"), CLI_USAGE);
    expect_in(r.err, "say what is meant");
    assert_int_equal(run("queue hold --all --site slow.test"), CLI_USAGE);
    assert_int_equal(run("queue hold --site slow.test"), CLI_OK);
    assert_string_equal(r.out, "4 recipient(s) of 2 message(s) held\n");
    assert_int_equal(run("queue hold --all --dry-run"), CLI_OK);
    assert_string_equal(r.out, "would be: 3 recipient(s) of 4 message(s) held, 5 were so already\n");
    assert_int_equal(run("queue release --state held"), CLI_OK);
    assert_int_equal(run("queue retry --all --json"), CLI_OK);
    json_t *j = out_json();
    assert_int_equal(cli_int(j, "done"), 8);
    json_decref(j);
    assert_int_equal(run("queue retry --site nowhere.test"), CLI_NOT_FOUND);
}

static void test_final_acts_need_a_yes(void **state)
{
    (void)state;
    assert_int_equal(run("queue bounce --site slow.test"), CLI_USAGE);
    expect_in(r.err, "Bounce 4 recipient(s) of 2 message(s)? give --yes");
    assert_int_equal(server.node.rows[0].state, ADMIN_STATE_QUEUED);
    assert_true(server.node.act.dry_run);
    assert_int_equal(run("queue bounce --site slow.test --dry-run"), CLI_OK);
    expect_in(r.out, "would be: 4 recipient(s)");
    assert_int_equal(run("queue bounce --site slow.test --reason 5.4.7_too_late --yes"), CLI_OK);
    assert_int_equal(server.node.act.expected, 4);
    assert_string_equal(server.node.act_text, "5.4.7 too late");
    assert_int_equal(server.node.rows[0].state, ADMIN_STATE_BOUNCED);
    assert_int_equal(run("queue delete 0000000000DD4"), CLI_OK); /* typed ids are meant */
    assert_int_equal(server.node.rows[7].state, ADMIN_STATE_DELETED);
    server.node.busy_rows = 1;
    assert_int_equal(run("queue delete --all --yes"), CLI_PARTLY);
    expect_in(r.err, "1 are being delivered just now");
    server.node.busy_rows = 100;
    assert_int_equal(run("queue delete --all --yes"), CLI_FAILED);
}

/* ---- dialogue ------------------------------------------------------------------------------------------ */

static void test_trace_and_probe(void **state)
{
    (void)state;
    assert_int_equal(run("trace client --ip 192.0.2.0/24 --sessions 1 --for 10s"), CLI_OK);
    assert_int_equal(lines(r.out), 3);
    expect_in(r.out, "[1] 192.0.2.7:25 < 250-hello\\x1b[2J");
    assert_string_equal(server.node.trace_ip, "192.0.2.0/24");
    assert_int_equal(run("trace server --json"), CLI_OK);
    assert_int_equal(lines(r.out), 4);
    expect_in(r.out, "\"dir\":\"end\"");
    assert_int_equal(run("trace server --site x"), CLI_USAGE);
    assert_int_equal(run("trace server --for 2h"), CLI_USAGE);
    assert_int_equal(run("probe bob@slow.test --from-ip 192.0.2.1"), CLI_FAILED);
    expect_in(r.out, "> RCPT TO:<bob@slow.test>");
    expect_in(r.out, "< 550 5.1.1 no such user");
    expect_in(r.err, "550 5.1.1");
    assert_int_equal(run("probe bob"), CLI_FAILED);
}

/* ---- accounts ------------------------------------------------------------------------------------------ */

static void test_accounts(void **state)
{
    (void)state;
    char file[128], args[256];
    assert_int_equal(run("account add anna@example.com"), CLI_USAGE); /* no terminal */
    expect_in(r.err, "--password-stdin");
    assert_int_equal(run_with("a secret\nrest",
                              "account add anna@example.com --password-stdin --class device "
                              "--tenant t1 --may-send-as info@example.com"),
                     CLI_OK);
    assert_string_equal(server.node.accounts[0].password, "a secret");
    assert_string_equal(server.node.accounts[0].class, "device");
    assert_string_equal(server.node.accounts[0].tenant, "t1");
    assert_int_equal(run_with("x\n", "account add anna@example.com --password-stdin"), CLI_FAILED);
    expect_in(r.err, "there is an account anna@example.com already");
    assert_int_equal(run_with("", "account passwd anna@example.com --password-stdin"), CLI_USAGE);
    snprintf(file, sizeof(file), "%s/pw", server.dir);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    assert_true(write(fd, "other\r\n", 7) == 7);
    close(fd);
    snprintf(args, sizeof(args), "account passwd anna@example.com --password-file %s", file);
    assert_int_equal(run(args), CLI_OK);
    assert_string_equal(server.node.accounts[0].password, "other");
    unlink(file);
    assert_int_equal(run("account list"), CLI_OK);
    expect_in(r.out, "anna@example.com  device  t1      yes    info@example.com");
    assert_int_equal(run("account remove anna@example.com"), CLI_USAGE);
    assert_int_equal(run("account remove anna@example.com --yes"), CLI_OK);
    assert_int_equal(run("account remove anna@example.com --yes"), CLI_NOT_FOUND);
    assert_int_equal(run("account add x --password hunter2"), CLI_USAGE); /* no such option, on purpose */
    assert_null(strstr(r.err, "hunter2"));
}

static void test_import(void **state)
{
    (void)state;
    const char *file = "# users\n\n"
                       "a@example.com:$y$j9T$abc:bulk:t1:senders=b@example.com,@example.org disabled\n"
                       "{\"name\":\"j@example.com\",\"password\":\"pw\",\"class\":\"device\"}\n"
                       "d@example.com:{CRYPT}$6$abc:1000:1000::/home/d::\n"
                       "p@example.com:{PLAIN}pw2\n"
                       "s@example.com:{SSHA}xxxx\n"
                       "nothing\n"
                       "{\"name\":\n"
                       "k@example.com:$y$x:king\n";
    assert_int_equal(run_with(file, "account import - --dry-run"), CLI_PARTLY);
    assert_int_equal(server.node.naccounts, 0);
    assert_int_equal(run_with(file, "account import -"), CLI_PARTLY);
    expect_in(r.out, "4 account(s) taken, 4 refused");
    expect_in(r.err, "line 7, s@example.com: only crypt(5) hashes");
    expect_in(r.err, "line 10, k@example.com: class must be one of person|device|bulk");
    assert_int_equal(server.node.naccounts, 4);
    assert_string_equal(server.node.accounts[0].class, "bulk");
    assert_true(server.node.accounts[0].disabled);
    assert_string_equal(server.node.accounts[2].hash, "$6$abc");
    assert_string_equal(server.node.accounts[3].password, "pw2");
    assert_int_equal(run_with("a@example.com:$y$new\n", "account import - --json"), CLI_FAILED);
    json_t *j = out_json();
    assert_int_equal(cli_int(j, "refused"), 1);
    json_decref(j);
    assert_int_equal(run_with("a@example.com:$y$new\n", "account import - --replace"), CLI_OK);
    assert_string_equal(server.node.accounts[0].hash, "$y$new");
}

static void test_import_in_batches(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1u << 20);
    for (int i = 0; i < 900; i++)
        buf_printf(&b, "user%04d@example.com:$y$j9T$hash%d\n", i, i);
    buf_put_char(&b, '\0');
    assert_int_equal(run_with(b.data, "account import -"), CLI_OK);
    assert_string_equal(r.out, "900 account(s) taken, 0 refused\n");
    assert_int_equal(server.node.naccounts, 900);
    assert_int_equal(run("account list --limit 0"), CLI_OK);
    assert_int_equal(lines(r.out), 901);
    assert_int_equal(run("account list"), CLI_OK);
    assert_int_equal(lines(r.out), 101);
    buf_fini(&b);
}

/* ---- node ---------------------------------------------------------------------------------------------- */

static void test_node_commands(void **state)
{
    (void)state;
    char args[256], path[128];
    assert_int_equal(run("reload"), CLI_OK);
    assert_int_equal(run("reload"), CLI_FAILED);
    assert_string_equal(r.err, "turnpike: /etc/turnpike/node.yaml:3: listeners: no such kind\n");
    assert_int_equal(run("config check"), CLI_FAILED);
    expect_in(r.err, "node.yaml:3");
    assert_int_equal(run("config show"), CLI_OK);
    assert_string_equal(r.out, "name: n1.example.com\npassword: (hidden)\n");
    assert_int_equal(run("log level debug"), CLI_OK);
    assert_int_equal(run("log level"), CLI_OK);
    assert_string_equal(r.out, "debug\n");
    assert_int_equal(run("log level loud"), CLI_USAGE);
    /* turnpiked is run for what needs no node. */
    snprintf(path, sizeof(path), "%s/turnpiked", server.dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0700);
    assert_true(dprintf(fd, "#!/bin/sh\necho \"$1 $2\"\nexit ${2#code}\n") > 0);
    close(fd);
    setenv("TURNPIKED", path, 1);
    snprintf(args, sizeof(args), "config check code0");
    assert_int_equal(run(args), CLI_OK);
    assert_string_equal(r.out, "--check code0\n");
    assert_int_equal(run("config check code78"), CLI_FAILED);
    assert_int_equal(run("spool verify code65"), CLI_FAILED);
    assert_string_equal(r.out, "--verify-spool code65\n");
    setenv("TURNPIKED", "/nonexistent/turnpiked", 1);
    assert_int_equal(run("config check x"), CLI_FAILED);
    expect_in(r.err, "can't run /nonexistent/turnpiked");
    unsetenv("TURNPIKED");
    unlink(path);
}

static void test_errors_of_the_node(void **state)
{
    (void)state;
    server.node.status_err = ERR_TIMEOUT;
    assert_int_equal(run("status"), CLI_FAILED);
    assert_string_equal(r.err, "turnpike: the workers do not answer\n");
    assert_string_equal(r.out, "");
    assert_int_equal(run("status --json"), CLI_FAILED);
    json_t *j = out_json();
    assert_string_equal(cli_str(json_object_get(j, "error"), "code"), "timeout");
    json_decref(j);
}

static void test_reaching_the_node(void **state)
{
    (void)state;
    char args[512];
    assert_int_equal(run("status --socket /nonexistent/admin.sock"), CLI_UNREACHABLE);
    assert_string_equal(r.err,
                        "turnpike: can't reach the node at /nonexistent/admin.sock: No such file or "
                        "directory; is turnpiked running? give --socket or --url if it is elsewhere\n");
    assert_int_equal(run("status --json --socket /nonexistent/admin.sock"), CLI_UNREACHABLE);
    json_t *j = out_json();
    assert_string_equal(cli_str(json_object_get(j, "error"), "code"), "unreachable");
    json_decref(j);
    assert_int_equal(run("status --url http://127.0.0.1:1"), CLI_UNREACHABLE);
    assert_int_equal(run("status --url http://127.0.0.1:1 --socket /nonexistent/admin.sock"), CLI_USAGE);
    expect_in(r.err, "--socket and --url name different ways to a node");
    snprintf(args, sizeof(args), "status --url http://127.0.0.1:%u/", server.port);
    assert_int_equal(run(args), CLI_FAILED);
    expect_in(r.err, "refuses the token: give the right one with --token-file");
    snprintf(args, sizeof(args), "--url=http://127.0.0.1:%u status --token-file %s", server.port,
             server.token_file);
    assert_int_equal(run(args), CLI_OK);
    snprintf(args, sizeof(args), "queue hold --all --url http://localhost:%u --token-file %s", server.port,
             server.token_file);
    assert_int_equal(run(args), CLI_OK);
    expect_in(server.node.caller, "tcp:127.0.0.1:");
    setenv("TURNPIKE_TOKEN_FILE", "/nonexistent/token", 1);
    snprintf(args, sizeof(args), "status --url http://127.0.0.1:%u", server.port);
    assert_int_equal(run(args), CLI_FAILED);
    expect_in(r.err, "can't read the token file /nonexistent/token");
    unsetenv("TURNPIKE_TOKEN_FILE");
    assert_int_equal(run("status --url file:///etc/passwd"), CLI_UNREACHABLE);
    assert_null(strstr(r.out, "root"));
}

/* ---- on a terminal ------------------------------------------------------------------------------------- */

static void test_colour_and_width(void **state)
{
    (void)state;
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_int_equal(run_tty("", "status"), CLI_OK);
    expect_in(r.out, "\x1b[32mrunning\x1b[0m");
    assert_int_equal(run_tty("", "status --json"), CLI_OK);
    assert_null(strchr(r.out, '\x1b'));
    setenv("NO_COLOR", "1", 1);
    assert_int_equal(run_tty("", "status"), CLI_OK);
    assert_null(strchr(r.out, '\x1b'));
    assert_int_equal(run_tty("", "ip check"), CLI_FAILED);
    expect_in(r.out, "no PTR record");
    expect_in(r.out, "~\r\n"); /* cut here, whole in a pipe */
    assert_null(strstr(r.out, "that says out2"));
    assert_int_equal(run_tty("", "queue cat 0000000000AA1 --headers"), CLI_OK);
    assert_string_equal(r.out, "Subject: hello\r\n\r\n"); /* the terminal's own CR */
}

static void test_passwords_are_not_shown(void **state)
{
    (void)state;
    assert_int_equal(run_tty("hunter2\nhunter2\n", "account add anna@example.com"), CLI_OK);
    assert_null(strstr(r.out, "hunter2"));
    expect_in(r.out, "Password: ");
    assert_string_equal(server.node.accounts[0].password, "hunter2");
    assert_int_equal(run_tty("one\ntwo\n", "account passwd anna@example.com"), CLI_FAILED);
    expect_in(r.out, "the two passwords differ");
    assert_string_equal(server.node.accounts[0].password, "hunter2");
}

static void test_the_terminal_is_asked(void **state)
{
    (void)state;
    assert_int_equal(run_tty("n\n", "queue delete --site slow.test"), CLI_FAILED);
    expect_in(r.out, "Delete 4 recipient(s) of 2 message(s)? [y/N]");
    assert_int_equal(server.node.rows[0].state, ADMIN_STATE_QUEUED);
    assert_int_equal(run_tty("y\n", "queue delete --site slow.test"), CLI_OK);
    assert_int_equal(server.node.rows[0].state, ADMIN_STATE_DELETED);
}

/* ---- usage --------------------------------------------------------------------------------------------- */

static void test_usage(void **state)
{
    (void)state;
    assert_int_equal(run(""), CLI_OK);
    expect_in(r.out, "Usage: turnpike COMMAND");
    assert_int_equal(run("statsu"), CLI_USAGE);
    expect_in(r.err, "there is no command \"statsu\"; did you mean \"status\"?");
    assert_int_equal(run("queue lst"), CLI_USAGE);
    expect_in(r.err, "did you mean \"queue list\"?");
    assert_int_equal(run("queu list"), CLI_USAGE);
    expect_in(r.err, "did you mean \"queue list\"?");
    assert_int_equal(run("queue"), CLI_USAGE);
    expect_in(r.err, "see turnpike help queue");
    assert_int_equal(run("xyzzyxyzzy"), CLI_USAGE);
    expect_in(r.err, "see turnpike help");
    assert_int_equal(run("queue list --sendr x"), CLI_USAGE);
    expect_in(r.err, "did you mean --sender?");
    assert_int_equal(run("queue list --sender"), CLI_USAGE);
    expect_in(r.err, "--sender needs a value");
    assert_int_equal(run("queue list --state gone"), CLI_USAGE);
    assert_int_equal(run("queue list --json=yes"), CLI_USAGE);
    assert_int_equal(run("queue list -l"), CLI_USAGE);
    assert_int_equal(run("queue show"), CLI_USAGE);
    assert_int_equal(run("queue show A B"), CLI_USAGE);
    assert_int_equal(run("status extra"), CLI_USAGE);
    assert_int_equal(run("queue list --limit many"), CLI_USAGE);
    assert_int_equal(run("queue list --older-than soon"), CLI_FAILED);
    expect_in(r.err, "older_than is no duration");
    assert_int_equal(run("--version"), CLI_OK);
    assert_string_equal(r.out, "turnpike " TURNPIKE_VERSION "\n");
}

static void test_every_command_has_help(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *m = &cli_commands[i];
        char args[128], usage[128];
        snprintf(args, sizeof(args), "%s --help", m->name);
        snprintf(usage, sizeof(usage), "Usage: turnpike %s", m->name);
        assert_int_equal(run(args), CLI_OK);
        expect_in(r.out, usage);
        expect_in(r.out, m->examples);
        for (const struct cli_option *o = m->options; o->name != NULL; o++)
            expect_in(r.out, o->help);
        snprintf(args, sizeof(args), "help %s", m->name);
        assert_int_equal(run(args), CLI_OK);
        expect_in(r.out, usage);
        /* Lines fit a terminal of 100 columns. */
        for (const char *p = r.out; *p != '\0'; p += strcspn(p, "\n") + 1)
            if (strcspn(p, "\n") > 100)
                fail_msg("too wide in %s: %.*s", m->name, (int)strcspn(p, "\n"), p);
    }
    assert_int_equal(run("help queue"), CLI_OK);
    expect_in(r.out, "queue summary");
    assert_int_equal(run("help statsu"), CLI_USAGE);
}

static void check_shell(const char *shell, const char *check)
{
    char args[64], path[128], command[256];
    snprintf(args, sizeof(args), "completion %s", shell);
    assert_int_equal(run(args), CLI_OK);
    for (size_t i = 0; i < cli_ncommands; i++) {
        const char *second = strrchr(cli_commands[i].name, ' ');
        expect_in(r.out, second != NULL ? second + 1 : cli_commands[i].name);
    }
    expect_in(r.out, "reply-match");
    snprintf(path, sizeof(path), "%s/completion", server.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(r.out, f);
    fclose(f);
    snprintf(command, sizeof(command), check, path);
    assert_int_equal(system(command), 0);
    unlink(path);
}

static void test_completion(void **state)
{
    (void)state;
    check_shell("bash", "bash -n %s");
    check_shell("zsh", "! command -v zsh >/dev/null || zsh -n %s");
    check_shell("fish", "! command -v fish >/dev/null || fish -n %s");
    assert_int_equal(run("completion tcsh"), CLI_USAGE);
}

/* What bash would offer. */
static void expect_offer(const char *line, const char *offer)
{
    char path[128], script[1024];
    assert_int_equal(run("completion bash"), CLI_OK);
    snprintf(path, sizeof(path), "%s/completion", server.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(r.out, f);
    fprintf(f,
            "COMP_WORDS=(%s)\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_turnpike\necho \" ${COMPREPLY[*]} \"\n",
            line);
    fclose(f);
    snprintf(script, sizeof(script), "bash %s", path);
    f = popen(script, "r");
    assert_non_null(f);
    char out[4096] = "";
    size_t n = fread(out, 1, sizeof(out) - 1, f);
    out[n] = '\0';
    assert_int_equal(pclose(f), 0);
    unlink(path);
    expect_in(out, offer);
}

static void test_bash_completes(void **state)
{
    (void)state;
    expect_offer("turnpike qu", " queue ");
    expect_offer("turnpike queue \"\"", " summary ");
    expect_offer("turnpike queue list --st", " --state ");
    expect_offer("turnpike queue list --state \"\"", " queued held active ");
    expect_offer("turnpike log level d", " debug ");
    expect_offer("turnpike status --js", " --json ");
    expect_offer("turnpike completion \"\"", " bash zsh fish ");
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(test_status),
        SERVED(test_lists),
        SERVED(test_show_escapes_what_peers_said),
        SERVED(test_cat),
        SERVED(test_ip_check),
        SERVED(test_domain_check),
        SERVED(test_acts),
        SERVED(test_final_acts_need_a_yes),
        SERVED(test_trace_and_probe),
        SERVED(test_accounts),
        SERVED(test_import),
        SERVED(test_import_in_batches),
        SERVED(test_node_commands),
        SERVED(test_errors_of_the_node),
        SERVED(test_reaching_the_node),
        SERVED(test_colour_and_width),
        SERVED(test_passwords_are_not_shown),
        SERVED(test_the_terminal_is_asked),
        SERVED(test_usage),
        SERVED(test_every_command_has_help),
        SERVED(test_completion),
        SERVED(test_bash_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
