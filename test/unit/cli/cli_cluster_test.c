/* The command line on a node of a cluster: what an operator reads, where the exit code tells what happened,
 * and that secrets stay out of the arguments.
 */
#include "test/unit/cli/run.h"

#include "base/err.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fake_cluster *cluster = &server.cluster;

static void use(bool member)
{
    fake_server_start_in(&server, member);
    setenv("TURNPIKE_SOCKET", server.socket, 1);
    unsetenv("TURNPIKE_URL");
    unsetenv("TURNPIKE_TOKEN_FILE");
}

static int setup_member(void **state)
{
    (void)state;
    use(true);
    return 0;
}

static int setup_alone(void **state)
{
    (void)state;
    use(false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_server_stop(&server);
    return 0;
}
#define MEMBER(test) cmocka_unit_test_setup_teardown(test, setup_member, teardown)
#define ALONE(test) cmocka_unit_test_setup_teardown(test, setup_alone, teardown)

static void expect_out(const char *args, const char *out)
{
    if (run(args) != CLI_OK || strcmp(r.out, out) != 0)
        fail_msg("%s: %d\n%s%s", args, r.code, r.out, r.err);
}

/* One line on standard error, nothing on standard output. */
static void expect_refused(const char *args, int code, const char *part)
{
    int got = run(args);
    size_t n = strlen(r.err);
    if (got != code || strstr(r.err, part) == NULL || n == 0 || strchr(r.err, '\n') != r.err + n - 1 ||
        r.out[0] != '\0')
        fail_msg("%s: %d\n%s%s", args, got, r.out, r.err);
}

static void write_file(const char *name, const char *text, char path[128])
{
    snprintf(path, 128, "%s/%s", server.dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* ---- senders ------------------------------------------------------------------------------------------- */

static void test_freeze(void **state)
{
    (void)state;
    assert_int_equal(run("freeze anna@example.com --for 2h --reason stolen_password"), CLI_OK);
    expect_in(r.out, "account anna@example.com is frozen on all nodes: auto, for 2h (");
    expect_in(r.out, "node-a  confirmed");
    expect_in(r.out, "node-b  waited out: it can no longer accept  4100ms");
    assert_int_equal(run("freeze @example.org --mode hold --json"), CLI_OK);
    json_t *j = out_json();
    assert_string_equal(cli_str(j, "scope"), "tenant");
    assert_string_equal(cli_str(j, "mode"), "hold");
    json_decref(j);
    assert_int_equal(run("frozen"), CLI_OK);
    expect_in(r.out, "anna@example.com  auto");
    expect_in(r.out, "stolen password");
    expect_in(r.out, "@example.org");
    expect_in(r.out, "when thawed");
    assert_int_equal(run("frozen --json"), CLI_OK);
    j = out_json();
    assert_int_equal(json_array_size(json_object_get(j, "frozen")), 2);
    json_decref(j);
    expect_out("thaw anna@example.com", "anna@example.com may send again\n");
    assert_int_equal(run("freeze anna@example.com --mode auto"), CLI_OK);
    expect_out("thaw anna@example.com", "anna@example.com may send again\n");
    expect_out("thaw --tenant example.org", "example.org may send again\n");
    assert_int_equal(run("frozen"), CLI_OK);
    assert_string_equal(r.err, "turnpike: nobody is frozen\n");
    expect_refused("freeze", CLI_USAGE, "say who is meant: an account, @TENANT, or --tenant NAME");
    expect_refused("freeze anna --tenant x", CLI_USAGE, "two different senders");
    expect_refused("freeze anna --mode bounce", CLI_USAGE, "--mode must be one of auto|reject|defer|hold");
    expect_refused("freeze anna --for soon", CLI_FAILED, "for is no duration");
}

static void test_freeze_without_a_majority(void **state)
{
    (void)state;
    cluster->await_err = ERR_TIMEOUT;
    assert_int_equal(run("freeze anna"), CLI_PARTLY);
    expect_in(r.out, "account anna is frozen, but not yet everywhere: auto, until thawed");
    assert_string_equal(r.err, "turnpike: node-b has not confirmed yet\n");
    cluster->submit_err = ERR_TIMEOUT;
    assert_int_equal(run("freeze bob"), CLI_NO_MAJORITY);
    expect_in(r.err, "turnpike: no majority: node-b and node-c do not answer; nothing was changed\n");
    expect_in(r.err, "--local freezes on one node at once");
    assert_int_equal(run("freeze bob --json"), CLI_NO_MAJORITY);
    json_t *j = out_json();
    assert_string_equal(cli_str(json_object_get(j, "error"), "code"), "no_majority");
    json_decref(j);
    assert_int_equal(run("freeze bob --local"), CLI_OK);
    assert_string_equal(r.out, "account bob is frozen on this node only: auto, until thawed\n");
    assert_int_equal(cluster->freezes_local, 1);
    assert_int_equal(run("frozen"), CLI_OK);
    expect_in(r.out, "anna    auto");
    expect_in(r.out, "\non this node only:\n");
    expect_in(r.out, "bob     defer");
    expect_out("thaw bob --local", "bob may send again from this node\n");
    expect_refused("tenant set x", CLI_NO_MAJORITY, "node-b and node-c");
    expect_refused("limit show bob", CLI_NO_MAJORITY, "node-b and node-c");
}

static void test_tenants_and_limits(void **state)
{
    (void)state;
    expect_out("tenant set example.org --note contract_4711", "set tenant example.org\n");
    assert_int_equal(run("tenant list"), CLI_OK);
    assert_string_equal(r.out, "NAME         CONTACT  NOTE\nexample.org  -        contract 4711\n");
    expect_out("tenant remove example.org", "removed tenant example.org\n");
    assert_int_equal(run("tenant remove example.org"), CLI_NOT_FOUND);
    assert_int_equal(run("tenant list"), CLI_OK);
    assert_string_equal(r.err, "turnpike: there are no tenants\n");
    expect_out("limit set anna@example.com account-hour 900",
               "account-hour of anna@example.com is 900 now\n");
    assert_int_equal(run("limit show anna@example.com"), CLI_OK);
    expect_in(r.out,
              "LIMIT         OF       COUNT  WINDOW  USED   LEFT  HELD  BURNED  SET BY     FREE AGAIN\n");
    expect_in(r.out, "account-hour  account    900      1h     0    900     0       0  limit set  -\n");
    expect_out("limit clear anna@example.com account-hour",
               "account-hour of anna@example.com is the policy's again\n");
    expect_out("limit set tenant-day 5 --tenant example.com", "tenant-day of example.com is 5 now\n");
    assert_int_equal(run("limit show @example.com --json"), CLI_OK);
    json_t *j = out_json();
    assert_int_equal(cli_int(json_array_get(json_object_get(j, "limits"), 0), "count"), 5);
    json_decref(j);
    expect_refused("limit set anna@example.com account-hour", CLI_USAGE,
                   "limit set needs SENDER LIMIT COUNT");
    expect_refused("limit set anna account-hour many", CLI_USAGE, "count must be a number, not many");
    expect_refused("limit set anna nix 5", CLI_NOT_FOUND, "nix");
}

static void test_accounts_of_the_cluster(void **state)
{
    (void)state;
    assert_int_equal(
        run_with("secret one\n", "account add anna@example.com --password-stdin --may-send-as @x.org"),
        CLI_OK);
    assert_int_equal(server.node.naccounts, 0);
    assert_int_equal(run("account show anna@example.com"), CLI_OK);
    assert_string_equal(r.out,
                        "name         anna@example.com\nclass        person\ntenant       example.com\n"
                        "login        yes\nmay send as  @x.org\n");
    expect_out("account set anna@example.com --class bulk --disabled --no-other-senders",
               "changed anna@example.com\n");
    assert_int_equal(run("account show anna@example.com"), CLI_OK);
    assert_string_equal(r.out, "name         anna@example.com\nclass        bulk\ntenant       example.com\n"
                               "login        disabled\n");
    expect_out("account set anna@example.com --enabled", "changed anna@example.com\n");
    expect_refused("account set anna@example.com", CLI_FAILED, "nothing is to be changed");
    expect_refused("account set anna@example.com --enabled --disabled", CLI_USAGE, "not both");
    expect_refused("account show bob", CLI_NOT_FOUND, "there is no account bob");
    assert_int_equal(run("account list"), CLI_OK);
    expect_in(r.out, "anna@example.com  bulk   example.com  yes");
    assert_int_equal(run_with("b@x.org:{PLAIN}pw:device\nc@x.org:nix\n", "account import -"), CLI_PARTLY);
    expect_in(r.out, "1 account(s) taken, 1 refused");
}

/* ---- pools and policy ---------------------------------------------------------------------------------- */

static void test_pools(void **state)
{
    (void)state;
    assert_int_equal(run("pool list"), CLI_OK);
    expect_in(r.err, "there are no pools");
    expect_out("pool add news --note for_bulk", "added pool news\n");
    expect_out("ip add 192.0.2.7 --pool news --node node-a --ehlo o.example.com --weight 5",
               "added 192.0.2.7\n");
    expect_out("pool assign news --class bulk", "mail of bulk is sent from pool news\n");
    expect_out("pool assign news --account anna@example.com",
               "mail of anna@example.com is sent from pool news\n");
    assert_int_equal(run("pool list"), CLI_OK);
    expect_in(r.out, "news          1       1  never  class bulk, account anna@example.com  for bulk\n");
    expect_refused("pool float news automatic --after 1m --return", CLI_FAILED, "floating addresses need 4");
    expect_out("ip set 192.0.2.7 --use drained", "changed 192.0.2.7\n");
    expect_out("ip move 192.0.2.7 node-b", "192.0.2.7 goes to node-b once its owner has let go of it\n");
    assert_int_equal(run("ip list"), CLI_OK);
    expect_in(r.out, "192.0.2.7  news  node-a  drained       5  o.example.com  node-b    releasing\n");
    expect_out("pool unassign --class bulk", "mail of bulk has no pool of its own now\n");
    expect_refused("pool assign news", CLI_USAGE, "--class, --tenant or --account, one of them");
    expect_refused("ip add 192.0.2.8 --pool news", CLI_USAGE, "ip add needs --pool NAME and --node NAME");
    expect_refused("ip set 192.0.2.7", CLI_USAGE, "nothing is to be changed");
    assert_int_equal(run("ip set 192.0.2.7 --json"), CLI_USAGE);
    expect_refused("ip move 192.0.2.7 node-x", CLI_NOT_FOUND, "there is no node node-x");
    expect_out("ip remove 192.0.2.7", "removed 192.0.2.7\n");
}

static void test_policy(void **state)
{
    (void)state;
    char good[128], bad[128], args[512], version[32];
    assert_int_equal(run("policy show"), CLI_OK);
    expect_in(r.out, "name: account-hour");
    assert_int_equal(run("policy history"), CLI_OK);
    write_file("good.yaml", "limits:\n  - {name: account-hour, for: account, count: 9, window: 1h}\n", good);
    write_file("bad.yaml", "voters: 9\nlimit: x\n", bad);
    snprintf(args, sizeof(args), "policy diff %s", good);
    assert_int_equal(run(args), CLI_OK);
    expect_in(r.out, "  limits.account-hour.count: 500 -> 9\n");
    snprintf(args, sizeof(args), "policy apply %s --note strict", good);
    assert_int_equal(run(args), CLI_OK);
    expect_in(r.out, " is in force\n");
    assert_int_equal(sscanf(r.out, "policy %31s", version), 1);
    snprintf(args, sizeof(args), "policy diff %s", good);
    expect_out(args, "it says the same as the policy in force\n");
    assert_int_equal(run_with("voters: 5\n", "policy apply -"), CLI_OK);
    assert_int_equal(run("policy history"), CLI_OK);
    expect_in(r.out, "strict");
    expect_in(r.out, "in force");
    snprintf(args, sizeof(args), "policy rollback %s", version);
    assert_int_equal(run(args), CLI_OK);
    expect_in(r.out, "  voters: 5 -> 3\n");
    assert_int_equal(run("policy show"), CLI_OK);
    expect_in(r.out, "count: 9");
    /* Every fault, by the file's name; nothing changed. */
    cluster->submits = 0;
    snprintf(args, sizeof(args), "policy apply %s", bad);
    assert_int_equal(run(args), CLI_FAILED);
    expect_in(r.err, "bad.yaml:1: voters: expected a whole number from 1 to 5, got \"9\"\n");
    expect_in(r.err, "bad.yaml:2: unknown key \"limit\"; did you mean \"limits\"?\n");
    assert_int_equal(cluster->submits, 0);
    snprintf(args, sizeof(args), "policy apply %s --version 5", good);
    expect_refused(args, CLI_FAILED, "another policy");
    expect_refused("policy apply /nonexistent", CLI_FAILED,
                   "can't read /nonexistent: No such file or directory");
    assert_int_equal(run_with("\xff\xfe", "policy diff -"), CLI_FAILED);
    expect_in(r.err, "is not UTF-8 text");
    /* Without a node. */
    char daemon[128];
    write_file("turnpiked", "#!/bin/sh\necho \"$1 $2\"\n", daemon);
    chmod(daemon, 0700);
    setenv("TURNPIKED", daemon, 1);
    expect_out("policy check p.yaml", "--check-policy p.yaml\n");
    expect_out("dkim dns a.example --config /x", "--dkim dns\n");
    assert_int_equal(run("dkim generate a.example --selector s"), CLI_USAGE);
    assert_int_equal(run("dkim check a.example --key k.pem"), CLI_USAGE);
    unsetenv("TURNPIKED");
    unlink(daemon);
    unlink(good);
    unlink(bad);
}

/* ---- cluster ------------------------------------------------------------------------------------------- */

static void test_cluster_status(void **state)
{
    (void)state;
    assert_int_equal(run("cluster status"), CLI_OK);
    assert_int_equal(strncmp(r.out, "healthy\n", 8), 0);
    expect_in(r.out, "leader       node-a, term 3");
    expect_in(r.out, "node-b  voter         active  alive   accepted");
    expect_in(r.out, "2s       0.1.0");
    expect_in(r.out, "open     0.1.0"); /* it lasts: how long is the leader's to know */
    snprintf(cluster->status.note, ADMIN_TROUBLE_BYTES, "not all nodes run the same version");
    assert_int_equal(run("cluster status --check"), CLI_OK);
    assert_int_equal(strncmp(r.out, "healthy\nnot all nodes run", 25), 0);
    cluster->status.nodes[2].health = "dead";
    cluster->status.ntroubles = 1;
    snprintf(cluster->status.troubles[0], ADMIN_TROUBLE_BYTES, "a disk is full");
    assert_int_equal(run("cluster status"), CLI_OK);
    assert_int_equal(strncmp(r.out, "a disk is full\nnode-c: does not answer", 38), 0);
    assert_int_equal(run("cluster status --check"), CLI_FAILED);
    assert_int_equal(run("cluster status --json"), CLI_OK);
    json_t *j = out_json();
    assert_int_equal(json_array_size(json_object_get(j, "problems")), 2);
    json_decref(j);
    assert_int_equal(run("node list"), CLI_OK);
    expect_in(r.out, "192.0.2.3:8026");
    assert_int_equal(run("node list --json"), CLI_OK);
    j = out_json();
    assert_int_equal(json_array_size(j), 3);
    json_decref(j);
}

static void test_joining(void **state)
{
    (void)state;
    char path[128], args[256];
    expect_refused("cluster status", CLI_FAILED,
                   "this node is in no cluster: turnpike cluster init or turnpike node join");
    expect_refused("freeze anna", CLI_FAILED, "this node is in no cluster");
    expect_refused("track x --cluster", CLI_FAILED, "");
    assert_int_equal(run("cluster init --name node-1"), CLI_OK);
    assert_string_equal(cluster->init_name, "node-1");
    assert_int_equal(run_with("\n  tp1.abc.def \n", "node join -"), CLI_OK);
    assert_string_equal(cluster->token, "tp1.abc.def");
    write_file("join", "expired\n", path);
    snprintf(args, sizeof(args), "node join %s", path);
    expect_refused(args, CLI_FAILED, "the token is no longer good");
    unlink(path);
    /* A token that stands where the file should is not repeated. */
    expect_refused("node join tp1.abc.def", CLI_USAGE, "give a file that holds the token, or -");
    assert_null(strstr(r.err, "tp1.abc.def"));
    assert_int_equal(run_with("", "node join -"), CLI_USAGE);
    assert_string_equal(r.err, "turnpike: there is no token in the file\n");
}

static void test_nodes(void **state)
{
    (void)state;
    assert_int_equal(run("node token --for 30m --name node-d"), CLI_OK);
    assert_string_equal(r.out, "tp1.secret.node-d\n");
    expect_in(r.err, "good for one node, for 30m");
    expect_out("node promote node-b", "node-b is a voter\n");
    assert_int_equal(cluster->role, COMMAND_ROLE_VOTER);
    expect_out("node demote node-b", "node-b is a standby\n");
    assert_int_equal(cluster->role, COMMAND_ROLE_STANDBY);
    expect_refused("node remove node-c", CLI_USAGE, "give --yes");
    expect_in(r.err, "Remove node-c for good, with the 20 recipients queued and 0 held");
    assert_int_equal(cluster->removed, 0);
    assert_int_equal(run("node remove node-c --yes"), CLI_OK);
    assert_string_equal(
        r.out, "removed node-c: its certificate is no longer accepted\n  12 recipients in its queue\n"
               "  3 tokens that it held\n");
    expect_refused("node remove node-a --yes", CLI_FAILED, "turnpike node leave");
    expect_out("node drain", "this node takes no new mail; it delivers what it has\n");
    assert_true(cluster->drained);
    expect_out("node drain --undo", "this node takes new mail again\n");
    expect_refused("node leave", CLI_USAGE, "give --yes");
    cluster->leave_after = 2;
    assert_int_equal(run("node leave --yes"), CLI_OK);
    assert_string_equal(r.out, "this node has left the cluster, with nothing in its queue\n");
    expect_in(r.err, "not yet: 7 messages are still here");
    assert_int_equal(cluster->leaves, 3);
    cluster->leave_after = 99;
    assert_int_equal(run("node leave --yes --timeout 1ms"), CLI_PARTLY);
    expect_in(r.err, "repeat the command");
    expect_refused("node leave --yes --timeout nix", CLI_USAGE, "--timeout must be a duration");
    expect_refused("node jion x", CLI_USAGE, "did you mean \"node join\"?");
    expect_refused("cluster init", CLI_FAILED, "in a cluster already");
    assert_int_equal(run("audit --limit 1"), CLI_OK);
    expect_in(r.out, "WHEN");
    expect_in(r.err, "there is more: --limit 0 for all, or --after ");
}

static void test_questions_to_all(void **state)
{
    (void)state;
    cluster->peers[0] =
        (struct fake_peer){ "node-b", 0, 200,
                            "{\"recipients\":[{\"id\":\"0000000000AA9\",\"rcpt\":0,\"recipient\":"
                            "\"zoe@fast.test\",\"state\":\"queued\"}],\"next\":null}" };
    cluster->peers[1] = (struct fake_peer){ "node-c", ERR_TIMEOUT, 0, "" };
    cluster->npeers = 2;
    assert_int_equal(run("track --message-id m1"), CLI_OK);
    expect_in(r.out, "NODE");
    expect_in(r.out, "zoe@fast.test");
    expect_in(r.err, "turnpike: node-c did not answer (no answer in time): what it has is not in here\n");
    expect_in(r.err, "turnpike: node-a: finished mail is kept that arrived since 2023-11-14 ");
    assert_int_equal(run("track --from x@y.test --sender x@y.test"), CLI_USAGE);
    expect_in(r.err, "give one of them");
    assert_int_equal(run("track --to @fast.test --since 2024-01-01T00:00:00Z --local"), CLI_OK);
    assert_null(strstr(r.err, "is kept that arrived since")); /* all of that time is */
    assert_null(strstr(r.out, "NODE"));
    assert_string_equal(r.err, "");
    assert_int_equal(run("queue list --cluster --json"), CLI_OK);
    json_t *j = out_json();
    assert_int_equal(json_array_size(json_object_get(j, "recipients")), FAKE_ROWS + 1);
    assert_int_equal(json_array_size(json_object_get(j, "missing")), 1);
    json_decref(j);
    cluster->npeers = 1;
    cluster->peers[0].body =
        "{\"groups\":[{\"key\":\"slow.test\",\"recipients\":100}],\"total\":{\"recipients\":100}}";
    assert_int_equal(run("queue summary"), CLI_OK);
    expect_in(r.out, "108");
    assert_int_equal(run("queue summary --local"), CLI_OK);
    assert_null(strstr(r.out, "108"));
    cluster->peers[0].body =
        "{\"state\":\"draining\",\"reason\":\"an operator's wish\",\"queue\":{\"recipients\":77}}";
    assert_int_equal(run("status --cluster"), CLI_OK);
    expect_in(r.out, "node-a  running");
    expect_in(r.out, "node-b  draining");
    expect_in(r.out, "an operator's wish");
    cluster->peers[0].body = "{\"senders\":[{\"key\":\"zoe@example.com\",\"received\":999}],\"sites\":[]}";
    assert_int_equal(run("top --once --cluster"), CLI_OK);
    expect_in(r.out, "zoe@example.com");
    expect_in(r.out, "2 node(s)");
}

/* ---- recovery ------------------------------------------------------------------------------------------ */

static void test_backup_file(void **state)
{
    (void)state;
    char path[128], args[256];
    struct stat st;
    snprintf(path, sizeof(path), "%s/backup", server.dir);
    snprintf(args, sizeof(args), "cluster backup %s", path);
    assert_int_equal(run(args), CLI_OK);
    expect_in(r.out, "a backup of the cluster's state");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, FAKE_BACKUP_BYTES);
    assert_int_equal(st.st_mode & 0777, 0600);
    expect_refused(args, CLI_USAGE, "is there already");
    assert_int_equal(unlink(path), 0);
    cluster->submit_err = ERR_TIMEOUT;
    expect_refused(args, CLI_FAILED, "no majority");
    assert_int_equal(access(path, F_OK), -1);
    snprintf(args, sizeof(args), "cluster backup %s/none/backup", server.dir);
    expect_refused(args, CLI_FAILED, "can't make");
    snprintf(path, sizeof(path), "%s/backup.part", server.dir); /* nothing is left of what failed */
    assert_int_equal(access(path, F_OK), -1);
}

static void test_limits_reopened(void **state)
{
    (void)state;
    expect_refused("limit reopen", CLI_USAGE, "give --yes");
    expect_refused("limit reopen --yes", CLI_NOT_FOUND, "no limits count as full");
    fake_cluster_new_epoch(cluster);
    assert_int_equal(run("limit reopen --yes"), CLI_OK);
    expect_in(r.out, "audit trail");
    expect_refused("cluster raise", CLI_FAILED, "feature level 1 is in force");
}

/* turnpiked does the work: what it is told, and when. */
static void test_recover(void **state)
{
    (void)state;
    char daemon[128];
    write_file("turnpiked", "#!/bin/sh\necho \"$@\"\n", daemon);
    assert_int_equal(chmod(daemon, 0700), 0);
    setenv("TURNPIKED", daemon, 1);
    expect_out("cluster recover --inspect", "--config /etc/turnpike/node.yaml --inspect-cluster\n");
    assert_int_equal(run("cluster recover --config n.yaml"), CLI_USAGE); /* nobody is there to be asked */
    expect_in(r.out, "--inspect-cluster");
    assert_null(strstr(r.out, "--recover-cluster"));
    assert_int_equal(run("cluster recover --config n.yaml --yes"), CLI_OK);
    expect_in(r.out, "--config n.yaml --recover-cluster\n");
    expect_in(r.err, "all other nodes are removed");
    expect_out("cluster restore b.tp --config n.yaml", "--config n.yaml --restore-cluster b.tp\n");
    unsetenv("TURNPIKED");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMBER(test_freeze),
        MEMBER(test_freeze_without_a_majority),
        MEMBER(test_tenants_and_limits),
        MEMBER(test_accounts_of_the_cluster),
        MEMBER(test_pools),
        MEMBER(test_policy),
        MEMBER(test_cluster_status),
        ALONE(test_joining),
        MEMBER(test_nodes),
        MEMBER(test_questions_to_all),
        MEMBER(test_backup_file),
        MEMBER(test_limits_reopened),
        ALONE(test_recover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
