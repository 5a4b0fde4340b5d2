/* Fuzzes machine_apply. The first byte chooses: 0, one entry as it is; else encoded commands, each as
 * (milliseconds, 16-bit length, bytes), in entries of their own. Whatever is applied: the books must be
 * right, and a second machine with the same entries must be the same.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/machine.h"
#include "consensus/machine_impl.h"
#include "consensus/quota.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pair {
    struct machine *m[2];
    struct machine_effects fx[2];
    struct buf entry;
    uint64_t index, now_ms;
};

static int apply(struct pair *p)
{
    int err[2];
    p->index++;
    for (int i = 0; i < 2; i++)
        err[i] = machine_apply(p->m[i], p->index, p->entry.data, p->entry.len, &p->fx[i]);
    ensure(err[0] == err[1]);
    ensure(p->fx[0].n == p->fx[1].n);
    return err[0];
}

static int apply_bytes(struct pair *p, struct span command)
{
    buf_reset(&p->entry);
    command_entry_begin(&p->entry, p->now_ms);
    buf_put_span(&p->entry, command);
    if (command_entry_end(&p->entry, 1) != 0)
        return 0; /* too long for an entry */
    return apply(p);
}

static void apply_command(struct pair *p, const struct command *cmd)
{
    struct buf b;
    buf_init(&b, COMMAND_BYTES_MAX);
    ensure(command_encode(cmd, &b) == 0);
    ensure(apply_bytes(p, buf_span(&b)) == 0);
    buf_fini(&b);
}

/* A founded cluster whose first session has the id 128. */
static void found(struct pair *p)
{
    struct command cmd = { .type = COMMAND_CLUSTER_INIT };
    cmd.cluster_init = (struct command_cluster_init){
        .epoch = 1,
        .ca_certificate = SPAN_LIT("certificate"),
        .ca_key = SPAN_LIT("key"),
        .name = SPAN_LIT("n1"),
        .raft_address = SPAN_LIT("127.0.0.1:7001"),
        .gossip_address = SPAN_LIT("127.0.0.1:8001"),
        .version = SPAN_LIT("1"),
        .features = COMMAND_FEATURES,
    };
    apply_command(p, &cmd);
    cmd = (struct command){ .type = COMMAND_SESSION_OPEN };
    cmd.session_open.node = 1;
    apply_command(p, &cmd);
}

static void commands(struct pair *p, const uint8_t *data, size_t size)
{
    struct cursor c;
    cursor_init(&c, data, size);
    while (cursor_left(&c) != 0) {
        p->now_ms += (uint64_t)cursor_u8(&c) * 1000;
        struct span bytes = cursor_bytes(&c, cursor_u16(&c));
        if (cursor_err(&c) != 0 || apply_bytes(p, bytes) != 0)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pair p = { .now_ms = 1000 };
    buf_init(&p.entry, COMMAND_ENTRY_BYTES_MAX);
    for (int i = 0; i < 2; i++) {
        p.m[i] = machine_new(&(struct machine_config){ .max_counters = 100, .max_frozen = 10 });
        ensure(p.m[i] != NULL);
        machine_effects_init(&p.fx[i]);
    }
    found(&p);
    if (size > 0 && data[0] == 0) {
        buf_reset(&p.entry);
        if (buf_put(&p.entry, data + 1, size - 1) == 0)
            (void)apply(&p);
    } else if (size > 0) {
        commands(&p, data + 1, size - 1);
    }
    ensure(machine_digest(p.m[0]) == machine_digest(p.m[1]));
    quota_check(p.m[0]);
    for (int i = 0; i < 2; i++) {
        machine_free(p.m[i]);
        machine_effects_fini(&p.fx[i]);
    }
    buf_fini(&p.entry);
    return 0;
}
