/* Handlers of what is seldom needed: a backup of the cluster's state, limits after a new epoch, feature
 * levels. Admin threads.
 */
#include "node/admin/member.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

#define BACKUP_MAX ((size_t)0x7ff00000 + 4096)
#define BACKUP_SEND_MS INT64_C(3600000)

/* ---- backup -------------------------------------------------------------------------------------------- */

struct sending {
    struct buf bytes;
    size_t at;
};

static ssize_t sending_read(void *ctx, char *p, size_t max)
{
    struct sending *s = ctx;
    size_t n = s->bytes.len - s->at;
    if (n == 0)
        return -1;
    n = n < max ? n : max;
    memcpy(p, s->bytes.data + s->at, n);
    s->at += n;
    return (ssize_t)n;
}

/* It has the hashes of passwords. */
static void sending_free(void *ctx)
{
    struct sending *s = ctx;
    if (s->bytes.data != NULL)
        explicit_bzero(s->bytes.data, s->bytes.cap);
    buf_fini(&s->bytes);
    free(s);
}

int admin_on_cluster_backup(struct admin_call *c)
{
    struct machine *m;
    int err = member_machine(c, &m);
    if (err != 0 || c->cluster->backup == NULL)
        return err != 0 ? err : admin_missing(c);
    struct sending *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return admin_fail(&c->e, -ENOMEM, "out of memory");
    buf_init(&s->bytes, BACKUP_MAX);
    err = c->cluster->backup(c->cluster_ctx, c->caller, &s->bytes, &c->e);
    if (err != 0) {
        sending_free(s);
        return err;
    }
    c->type = "application/octet-stream";
    c->source = (struct admin_source){
        .read = sending_read, .free = sending_free, .ctx = s, .limit_ms = BACKUP_SEND_MS
    };
    return 0;
}

/* ---- limits -------------------------------------------------------------------------------------------- */

int admin_on_limit_reopen(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_LIMITS_REOPEN };
    return member_do(c, &cmd);
}

/* ---- feature levels ------------------------------------------------------------------------------------ */

static int lower(void *arg, const struct directory_member *mb)
{
    uint32_t *level = arg;
    if (mb->state != COMMAND_MEMBER_REMOVED && mb->features < *level)
        *level = mb->features;
    return 0;
}

/* Without a level: the highest that every member can do. */
int admin_on_cluster_raise(struct admin_call *c)
{
    struct machine *m;
    struct json_out j;
    uint32_t in_force = 0, level = UINT32_MAX;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    machine_read_lock(m);
    in_force = machine_features(m);
    (void)directory_member_each(m, lower, &level);
    machine_read_unlock(m);
    level = (uint32_t)admin_arg_int(c->args, "level", level);
    if (level == in_force)
        return admin_fail(
            &c->e, ERR_EXISTS,
            "feature level %u is in force, and some node can do no higher one: turnpike node list "
            "shows their versions",
            level);
    struct command cmd = { .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = level } };
    err = member_submit(c, &cmd, NULL);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_u64(&j, "features", level);
    return json_out_end(&j);
}
