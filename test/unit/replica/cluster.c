/* See cluster.h. */
#include "cluster.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
/* libuv is not built for it: of what its threads do with file descriptors it sees one half. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libuv.so\n";
}
#endif

/* How long this thread was ready to run and did not, because others did: that is no stall of the loop's. */
static int64_t kept_waiting_ns(void)
{
    char text[64] = "";
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    const char *blank = n > 0 ? strchr(text, ' ') : NULL;
    return blank == NULL ? 0 : strtoll(blank, NULL, 10);
}

static void on_wake(uv_timer_t *t)
{
    struct cluster *c = t->data;
    if (!c->measure_gaps)
        return;
    int64_t now = clock_mono_ns() - kept_waiting_ns();
    if (c->last_turn_ns != 0 && now - c->last_turn_ns > c->max_gap_ns)
        c->max_gap_ns = now - c->last_turn_ns;
    c->last_turn_ns = now;
}

/* A port that stays ours: others are not given it, and libuv binds to it all the same, as both say
 * SO_REUSEADDR. */
static unsigned hold_port(int *held)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *held = fd;
    return ntohs(sa.sin_port);
}

void cluster_init(struct cluster *c, unsigned n)
{
    assert_true(n <= CLUSTER_MAX);
    log_set_level(LOG_LEVEL_ERROR);
    (void)signal(SIGPIPE, SIG_IGN); /* libuv writes to a peer that has gone without asking for no signal */
    *c = (struct cluster){ .n = n };
    (void)snprintf(c->dir, sizeof c->dir, "/tmp/replica-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    assert_int_equal(uv_loop_init(&c->loop), 0);
    assert_int_equal(uv_timer_init(&c->loop, &c->wake), 0);
    assert_int_equal(uv_idle_init(&c->loop, &c->idle), 0);
    c->wake.data = c->idle.data = c;
    assert_int_equal(uv_timer_start(&c->wake, on_wake, 5, 5), 0);
    buf_init(&c->commands, 8u << 20);
    for (unsigned i = 0; i < n; i++) {
        struct node *node = &c->nodes[i];
        node->cluster = c;
        node->id = i + 1;
        (void)snprintf(node->dir, sizeof node->dir, "%s/%u", c->dir, i + 1);
        (void)snprintf(node->address, sizeof node->address, "127.0.0.1:%u", hold_port(&node->held));
        assert_int_equal(mkdir(node->dir, 0700), 0);
    }
}

static void on_effects(void *ctx, uint64_t index, const struct machine_effects *effects)
{
    struct node *node = ctx;
    if (effects->n == 1 && !effects->items[0].is_result && effects->items[0].change == MACHINE_CHANGED_ALL) {
        node->installs++;
        node->last_index = index;
        return;
    }
    node->effects++;
    node->results += effects->n;
    uint64_t now = effects->items[0].result.now_ms;
    if (index <= node->last_index || now < node->last_now_ms)
        node->ascending = false;
    node->last_index = index;
    node->last_now_ms = now;
}

static void on_role(void *ctx, enum replica_role role, uint64_t leader, bool ready)
{
    struct node *node = ctx;
    node->role = role;
    node->leader = leader;
    node->ready = ready;
}

static void on_failed(void *ctx, int err, const char *words)
{
    struct node *node = ctx;
    node->failed = err;
    node->failures++;
    (void)snprintf(node->words, sizeof node->words, "%s", words);
}

static void on_backlog(void *ctx, uint64_t id)
{
    (void)id;
    ((struct node *)ctx)->backlogs++;
}

int node_try_open(struct node *node)
{
    struct cluster *c = node->cluster;
    node->transport = (struct raft_uv_transport){ .version = 1 };
    assert_int_equal(raft_uv_tcp_init(&node->transport, &c->loop), 0);
    node->machine = machine_new(NULL);
    assert_non_null(node->machine);
    node->role = REPLICA_FOLLOWER;
    node->leader = 0;
    node->ready = node->closed = false;
    node->failed = 0;
    node->failures = node->backlogs = 0;
    node->effects = node->installs = node->results = node->last_index = node->last_now_ms = 0;
    node->ascending = true;
    struct replica_config config = {
        .loop = &c->loop,
        .dir = node->dir,
        .id = node->id,
        .address = node->address,
        .machine = node->machine,
        .transport = &node->transport,
        .snapshot_bytes = c->snapshot_bytes,
        .on_effects = on_effects,
        .on_role = on_role,
        .on_failed = on_failed,
        .on_backlog = on_backlog,
        .ctx = node,
    };
    int err = replica_open(&config, &node->replica);
    if (err == 0)
        return 0;
    for (int i = 0; i < 50; i++)
        (void)uv_run(&c->loop, UV_RUN_ONCE);
    raft_uv_tcp_close(&node->transport);
    machine_free(node->machine);
    node->replica = NULL;
    return err;
}

void node_open(struct node *node)
{
    assert_int_equal(node_try_open(node), 0);
}

static void on_closed(void *ctx)
{
    struct node *node = ctx;
    node->closed = true;
}

static bool is_closed(struct cluster *c, void *arg)
{
    (void)c;
    return ((struct node *)arg)->closed;
}

void node_close(struct node *node)
{
    replica_close(node->replica, on_closed, node);
    assert_true(cluster_wait(node->cluster, PATIENCE_MS, is_closed, node));
    replica_free(node->replica);
    node->replica = NULL;
    raft_uv_tcp_close(&node->transport);
    machine_free(node->machine);
    node->machine = NULL;
    node->ready = false;
}

bool cluster_wait(struct cluster *c, int64_t ms, cluster_fn *fn, void *arg)
{
    int64_t end = clock_mono_ns() + ms * 1000000;
    while (!fn(c, arg)) {
        if (clock_mono_ns() > end)
            return false;
        (void)uv_run(&c->loop, UV_RUN_ONCE);
    }
    return true;
}

static bool never(struct cluster *c, void *arg)
{
    (void)c, (void)arg;
    return false;
}

void cluster_run(struct cluster *c, int64_t ms)
{
    (void)cluster_wait(c, ms, never, NULL);
}

static bool find_leader(struct cluster *c, void *arg)
{
    struct node **out = arg;
    for (unsigned i = 0; i < c->n; i++)
        if (c->nodes[i].replica != NULL && c->nodes[i].ready) {
            *out = &c->nodes[i];
            return true;
        }
    return false;
}

struct node *cluster_leader(struct cluster *c)
{
    struct node *node = NULL;
    assert_true(cluster_wait(c, PATIENCE_MS, find_leader, &node));
    return node;
}

struct node *cluster_follower(struct cluster *c)
{
    (void)cluster_leader(c);
    for (unsigned i = 0; i < c->n; i++)
        if (c->nodes[i].replica != NULL && !c->nodes[i].ready)
            return &c->nodes[i];
    fail_msg("no follower");
    return NULL;
}

bool cluster_same(struct cluster *c, uint64_t commands)
{
    const struct node *first = NULL;
    for (unsigned i = 0; i < c->n; i++) {
        const struct node *node = &c->nodes[i];
        if (node->replica == NULL)
            continue;
        if (first == NULL)
            first = node;
        if (fake_machine_commands(node->machine) < commands ||
            fake_machine_hash(node->machine) != fake_machine_hash(first->machine))
            return false;
    }
    return true;
}

static bool same_fn(struct cluster *c, void *arg)
{
    return cluster_same(c, *(const uint64_t *)arg);
}

void cluster_wait_same(struct cluster *c, uint64_t commands)
{
    assert_true(cluster_wait(c, PATIENCE_MS, same_fn, &commands));
}

/* ---- members ------------------------------------------------------------------------------------------- */

void answer_cb(void *ctx, int err)
{
    struct answer *a = ctx;
    assert_false(a->done);
    a->done = true;
    a->err = err;
}

static bool answered(struct cluster *c, void *arg)
{
    (void)c;
    return ((struct answer *)arg)->done;
}

int answer_wait(struct cluster *c, struct answer *a)
{
    assert_true(cluster_wait(c, PATIENCE_MS, answered, a));
    return a->err;
}

int cluster_add(struct cluster *c, struct node *node, enum replica_vote vote)
{
    struct answer a = { 0 };
    int err = replica_add(cluster_leader(c)->replica, node->id, node->address, answer_cb, &a);
    if (err != 0 || (err = answer_wait(c, &a)) != 0 || vote == REPLICA_SPARE)
        return err;
    a = (struct answer){ 0 };
    err = replica_assign(cluster_leader(c)->replica, node->id, vote, answer_cb, &a);
    return err != 0 ? err : answer_wait(c, &a);
}

void cluster_start(struct cluster *c, unsigned n)
{
    cluster_init(c, n);
    assert_int_equal(replica_bootstrap(c->nodes[0].dir, 1, c->nodes[0].address), 0);
    for (unsigned i = 0; i < n; i++)
        node_open(&c->nodes[i]);
    for (unsigned i = 1; i < n; i++)
        assert_int_equal(cluster_add(c, &c->nodes[i], REPLICA_VOTER), 0);
}

/* ---- load ---------------------------------------------------------------------------------------------- */

static void encode(struct cluster *c, uint32_t n, size_t payload)
{
    static char bytes[COMMAND_CHUNK_MAX];
    buf_reset(&c->commands);
    for (uint32_t i = 0; i < n; i++) {
        struct command cmd = { .type = payload == 0 ? COMMAND_CANCEL : COMMAND_POLICY_CHUNK,
                               .origin = { .session = 1, .seq = ++c->seq, .lowest = 1 } };
        if (payload == 0)
            cmd.cancel.seq = 1;
        else
            cmd.policy_chunk.bytes = span_of(bytes, payload);
        assert_int_equal(command_encode(&cmd, &c->commands), 0);
    }
}

int cluster_propose(struct cluster *c, struct node *node, uint32_t n, size_t payload)
{
    encode(c, n, payload);
    return replica_propose(node->replica, buf_span(&c->commands), n);
}

static void on_idle(uv_idle_t *idle)
{
    struct cluster *c = idle->data;
    struct node *leader = NULL;
    if (!find_leader(c, &leader))
        return;
    while (c->to_propose > 0) {
        if (replica_propose(leader->replica, buf_span(&c->commands), c->unit) != 0)
            return;
        c->to_propose = c->to_propose > c->unit ? c->to_propose - c->unit : 0;
    }
}

struct target {
    struct node *node;
    uint64_t commands;
};

static bool reached(struct cluster *c, void *arg)
{
    (void)c;
    const struct target *t = arg;
    return fake_machine_commands(t->node->machine) >= t->commands;
}

void cluster_load(struct cluster *c, uint64_t commands, uint32_t unit, size_t payload)
{
    struct node *leader = cluster_leader(c);
    encode(c, unit, payload);
    struct target target = { leader, fake_machine_commands(leader->machine) + commands };
    c->unit = unit;
    c->payload = payload;
    c->to_propose = commands;
    assert_int_equal(uv_idle_start(&c->idle, on_idle), 0);
    assert_true(cluster_wait(c, 120000, reached, &target));
    assert_int_equal(uv_idle_stop(&c->idle), 0);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

uint64_t dir_bytes(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    uint64_t bytes = 0;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        struct stat st;
        if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
    }
    (void)closedir(dir);
    return bytes;
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    (void)closedir(dir);
    (void)rmdir(path);
}

void cluster_fini(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->nodes[i].replica != NULL)
            node_close(&c->nodes[i]);
    uv_close((uv_handle_t *)&c->wake, NULL);
    uv_close((uv_handle_t *)&c->idle, NULL);
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    buf_fini(&c->commands);
    for (unsigned i = 0; i < c->n; i++) {
        (void)close(c->nodes[i].held);
        remove_dir(c->nodes[i].dir);
    }
    (void)rmdir(c->dir);
}
