/* A new epoch of a cluster, begun by this node alone: see recover.h. The main thread, before anything of a node
 * was started.
 *
 * The order is such that a crash leads either to the node as it was, which can be recovered again, or to one
 * that ends the recovery at its next start:
 *
 *     the epoch's first command in a file -> identity of the new epoch -> this node as raft's only voter
 *
 * A node whose identity is of a later epoch than its state does nothing with that state until the command was
 * applied (cluster_is_founded); one that is not alone in raft's configuration cannot apply it.
 */
#include "node/core/recover.h"

#include "base/err.h"
#include "base/log.h"
#include "consensus/directory.h"
#include "consensus/replica.h"
#include "node/cluster/seal.h"
#include "node/core/backup_file.h"
#include "node/core/cluster.h"
#include "node/core/founding.h"
#include "node/core/privileges.h"
#include "spool/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct place {
    const struct config *config;
    char dir[512], raft_dir[544];
    int lock;
    struct identity id;
    struct buf why;
};

static int fail(struct place *p, int code, const char *words)
{
    fprintf(stderr, "turnpiked: %s", words);
    if (p->why.len > 0)
        fprintf(stderr, "%.*s", (int)p->why.len, p->why.data);
    fputc('\n', stderr);
    return code;
}

static void leave(struct place *p)
{
    if (p->lock >= 0)
        disk_real.unlock_dir(NULL, p->lock);
    identity_fini(&p->id);
    buf_fini(&p->why);
}

/* As the node's user, while no node runs: a running one holds the spool's lock. */
static int enter(struct place *p, const struct config *config)
{
    *p = (struct place){ .config = config, .lock = -1 };
    identity_init(&p->id);
    buf_init(&p->why, 4096);
    snprintf(p->dir, sizeof p->dir, "%s/cluster", config->data_dir);
    snprintf(p->raft_dir, sizeof p->raft_dir, "%s/raft", p->dir);
    if (!config->cluster.enabled)
        return fail(p, EX_CONFIG, "this configuration has no 'cluster' section: there is no cluster here");
    if (privileges_prepare(config) != 0 || privileges_drop(config) != 0)
        return EX_OSERR;
    p->lock = disk_real.lock_dir(NULL, config->spool.dir);
    if (p->lock == -EWOULDBLOCK)
        return fail(p, EX_TEMPFAIL, "this node is running: stop it first");
    if (p->lock < 0) {
        buf_printf(&p->why, "%s: %s", config->spool.dir, err_text(p->lock));
        return fail(p, EX_NOPERM, "");
    }
    return 0;
}

/* The identity of the new epoch, in p->id; and raft with it alone. */
static int begin(struct place *p, uint32_t epoch)
{
    const struct config_cluster *cc = &p->config->cluster;
    p->id.self.epoch = epoch;
    p->id.nseeds = 0;
    snprintf(p->id.raft_address, sizeof p->id.raft_address, "%s", cc->advertise);
    snprintf(p->id.gossip_address, sizeof p->id.gossip_address, "%s", cc->advertise_gossip);
    int err = founding_write(p->dir, &p->id, &p->why);
    if (err == 0)
        err = identity_save(p->dir, &p->id, &p->why);
    return err;
}

/* ---- recover ------------------------------------------------------------------------------------------- */

static void say_state(const struct place *p, const struct replica_look *look)
{
    printf("node %s (%llu), epoch %u; its log ends at index %llu of term %llu\n", p->id.name,
           (unsigned long long)p->id.self.node, p->id.self.epoch, (unsigned long long)look->last,
           (unsigned long long)look->last_term);
}

/* Its state is the cluster's from now on: no other is left that it could differ from. */
static int unfence(struct place *p)
{
    char path[600];
    snprintf(path, sizeof path, "%s/" CLUSTER_FENCED_FILE, p->dir);
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    int err = -errno;
    buf_printf(&p->why, "%s: %s", path, err_text(err));
    return err;
}

int recover_cluster(const struct config *config, bool look)
{
    struct place p;
    struct replica_look found;
    int code = enter(&p, config), err = 0;
    if (code == 0 && (err = identity_load(p.dir, &p.id, &p.why)) == ERR_NOT_FOUND)
        code = fail(&p, EX_NOINPUT, "this node is no member of a cluster: there is nothing to recover");
    else if (code == 0 && err != 0)
        code = fail(&p, EX_DATAERR, "");
    if (code == 0 && (err = replica_look(p.raft_dir, &found)) != 0) {
        buf_printf(&p.why, "%s: %s", p.raft_dir, err_text(err));
        code = fail(&p, EX_DATAERR, "this node's state cannot be read: ");
    }
    if (code == 0)
        say_state(&p, &found);
    if (code != 0 || look) {
        leave(&p);
        return code;
    }
    err = begin(&p, p.id.self.epoch + 1);
    if (err == 0 && (err = replica_recover(p.raft_dir, p.id.self.node, p.id.raft_address)) != 0)
        buf_printf(&p.why, "%s: %s", p.raft_dir, err_text(err));
    if (err == 0)
        err = unfence(&p);
    if (err != 0)
        code = fail(&p, EX_IOERR, "the cluster was not recovered, and this may be repeated: ");
    else
        printf("epoch %u begins when this node is started; it is then the cluster's only node\n",
               p.id.self.epoch);
    leave(&p);
    return code;
}

/* ---- restore ------------------------------------------------------------------------------------------- */

static int name_member(void *arg, const struct directory_member *mb)
{
    struct buf *out = arg;
    if (mb->state != COMMAND_MEMBER_REMOVED)
        buf_printf(out, "%s%.*s", out->len > 0 ? ", " : "", (int)mb->name.n, mb->name.p);
    return 0;
}

/* Who this node was in the cluster of the backup. */
static int take_member(struct place *p, const struct machine *m)
{
    struct directory_cluster dc;
    struct directory_member mb;
    if (!directory_cluster(m, &dc))
        return fail(p, EX_DATAERR, "the backup has no cluster in it");
    if (!directory_member_named(m, span_str(p->config->name), &mb)) {
        (void)directory_member_each(m, name_member, &p->why);
        return fail(p, EX_CONFIG,
                    "the backup has no node of this name: set 'name' in the configuration to one of ");
    }
    memcpy(p->id.self.cluster, dc.id, sizeof dc.id);
    p->id.self.epoch = dc.epoch;
    p->id.self.node = mb.id;
    p->id.slot = mb.slot;
    snprintf(p->id.name, sizeof p->id.name, "%s", p->config->name);
    return 0;
}

#define SEALED_NAMED 5

struct sealed_names {
    struct buf text;
    uint64_t n;
};

static int name_sealed(void *arg, const struct directory_sealed *d)
{
    struct sealed_names *s = arg;
    if (s->n++ < SEALED_NAMED)
        buf_printf(&s->text, "%s%s %.*s of %.*s", s->n > 1 ? ", " : "",
                   d->kind == COMMAND_SEALED_DKIM ? "DKIM key" : "secret", (int)d->selector.n, d->selector.p,
                   (int)d->name.n, d->name.p);
    return 0;
}

/* What is encrypted in the backup is of use with a file that no backup has. */
static void say_sealed(const struct place *p, const struct machine *m)
{
    struct directory_sealing is;
    struct sealed_names s = { .n = 0 };
    buf_init(&s.text, 16384);
    (void)directory_sealed_each(m, (struct span){ "", 0 }, name_sealed, &s);
    if (s.n > 0 && directory_sealing(m, &is))
        printf("in the backup, but encrypted: %.*s%s. Before this node is started, put the file '" SEAL_FILE
               "' of a node that was a member then (it has sealing key %llu) at %s/" SEAL_FILE ", mode 0600; without it "
               "none of these can be used, and mail that DKIM keys should sign is deferred\n",
               (int)s.text.len, s.text.data, s.n > SEALED_NAMED ? ", and more" : "", (unsigned long long)is.number,
               p->dir);
    buf_fini(&s.text);
}

static int begin_restored(struct place *p, const struct buf *state, const struct machine *m)
{
    int code = take_member(p, m);
    if (code != 0)
        return code;
    int err = begin(p, p->id.self.epoch + 1);
    if (err == 0 && mkdir(p->raft_dir, 0700) != 0 && errno != EEXIST) {
        err = -errno;
        buf_printf(&p->why, "%s: %s", p->raft_dir, err_text(err));
    }
    if (err == 0 && (err = replica_restore(p->raft_dir, p->id.self.node, p->id.raft_address, buf_span(state),
                                           machine_applied(m))) != 0)
        buf_printf(&p->why, "%s: %s", p->raft_dir, err_text(err));
    if (err == 0) {
        printf("epoch %u begins when this node is started; it is then the cluster's only node\n",
               p->id.self.epoch);
        say_sealed(p, m);
        return 0;
    }
    code = fail(p, EX_IOERR, "the backup was not restored, and nothing is left of the attempt: ");
    (void)identity_retire(p->dir, NULL);
    return code;
}

int recover_restore(const struct config *config, const char *file)
{
    struct place p;
    struct buf state;
    struct machine *m = NULL;
    buf_init(&state, BACKUP_STATE_MAX);
    int code = enter(&p, config), err = 0;
    if (code == 0 && access(p.dir, F_OK) == 0) {
        buf_printf(&p.why, "%s", p.dir);
        code = fail(&p, EX_CANTCREAT,
                    "this node is a member of a cluster already: to give that up, move away ");
    }
    if (code == 0 && (err = backup_file_read(file, &state, &p.why)) != 0)
        code = fail(&p, EX_DATAERR, "");
    if (code == 0 && (m = machine_new(&(struct machine_config){ 0 })) == NULL)
        code = fail(&p, EX_OSERR, "no memory");
    if (code == 0 && (err = machine_restore(m, state.data, state.len)) != 0) {
        buf_printf(&p.why, "%s: %s", file, err_text(err));
        code = fail(&p, EX_DATAERR, "the state in the backup cannot be read: ");
    }
    if (code == 0)
        code = begin_restored(&p, &state, m);
    machine_free(m);
    buf_fini(&state);
    leave(&p);
    return code;
}
