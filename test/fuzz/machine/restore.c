/* Fuzzes machine_restore. The first byte chooses: 0, the bytes as they are; else they are records, (type,
 * 16-bit length, bytes) one after another, which are put into a snapshot whose sums are right. What is
 * restored must survive reading, and another snapshot of it must give the same digest.
 */
#include "base/ensure.h"
#include "consensus/directory.h"
#include "consensus/machine.h"
#include "consensus/store.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compose(const uint8_t *data, size_t size, struct buf *out)
{
    struct cursor c;
    cursor_init(&c, data, size);
    buf_put_u32(out, 0x6d707474u);
    buf_put_u32(out, 1);
    buf_put_u64(out, 1000);
    buf_put_u64(out, cursor_u32(&c));
    buf_put_u32(out, 0x73707474u);
    buf_put_u32(out, 1);
    buf_put_u64(out, 1u << 20);
    uint64_t n = 0, sum = 0;
    while (cursor_left(&c) != 0) {
        uint8_t id = cursor_u8(&c);
        struct span bytes = cursor_bytes(&c, cursor_u16(&c));
        if (cursor_err(&c) != 0 || id == 0)
            break;
        buf_put_u8(out, id);
        buf_put_u64(out, n++);
        buf_put_counted(out, bytes);
        sum += store_hash(id, bytes);
    }
    buf_put_u8(out, 0);
    buf_put_u64(out, n);
    buf_put_u64(out, sum);
}

static int session_seen(void *arg, const struct machine_session *s)
{
    struct machine_session again;
    ensure(machine_session_find(arg, s->id, &again));
    return 0;
}

static int frozen_seen(void *arg, const struct machine_frozen *f)
{
    struct machine_frozen again;
    ensure(machine_frozen_find(arg, f->scope, f->name, &again));
    ensure(again.id == f->id);
    return 0;
}

static int usage_seen(void *arg, const struct machine_usage *u)
{
    (void)arg;
    ensure(u->window_ms != 0);
    return 0;
}

static int record_seen(void *arg, const struct directory_record *r)
{
    struct directory_record again;
    ensure(directory_record_find(arg, r->account, &again));
    ensure(again.version == r->version);
    return 0;
}

static void look_around(struct machine *m)
{
    struct machine_totals t;
    struct buf due;
    uint32_t n;
    machine_totals(m, &t);
    (void)machine_sessions_each(m, session_seen, m);
    (void)machine_frozen_each(m, frozen_seen, m);
    (void)machine_usage_each(m, SPAN_LIT("anna"), SPAN_LIT("shop"), 0, usage_seen, NULL);
    (void)directory_record_each(m, SPAN_LIT(""), record_seen, m);
    buf_init(&due, 1u << 20);
    (void)machine_due(m, machine_now_ms(m) + 1000000, &due, &n);
    buf_fini(&due);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m = machine_new(&(struct machine_config){ 0 });
    struct buf in, out;
    buf_init(&in, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    ensure(m != NULL);
    if (size > 0 && data[0] == 0)
        buf_put(&in, data + 1, size - 1);
    else if (size > 0)
        compose(data + 1, size - 1, &in);
    if (machine_restore(m, in.data == NULL ? "" : in.data, in.len) == 0) {
        look_around(m);
        uint64_t digest = machine_digest(m);
        ensure(machine_snapshot_begin(m) == 0);
        int more;
        while ((more = machine_snapshot_step(m, &out)) == 1)
            ;
        ensure(more == 0);
        machine_snapshot_end(m);
        ensure(machine_restore(m, out.data, out.len) == 0);
        ensure(machine_digest(m) == digest);
    }
    look_around(m);
    buf_fini(&in);
    buf_fini(&out);
    machine_free(m);
    return 0;
}
