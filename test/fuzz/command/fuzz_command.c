/* Any bytes as a raft entry, and as a command by itself: what is read is within them, and is written as it
 * was read. */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/command.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads one command, and says whether there was one. */
static bool one(struct cursor *c, struct buf *again)
{
    const char *from = (const char *)c->p;
    struct command cmd;
    int err = command_decode(c, &cmd);
    ensure(err == 0 || err == ERR_TORN || err == ERR_CORRUPT || err == ERR_NOT_FOUND);
    if (err != 0)
        return false;
    ensure(strcmp(command_type_name(cmd.type), "unknown") != 0);
    buf_reset(again);
    ensure(command_encode(&cmd, again) == 0);
    ensure(span_eq(buf_span(again), span_of(from, (size_t)((const char *)c->p - from))));
    return true;
}

static void entry(const uint8_t *data, size_t size, struct buf *again)
{
    struct cursor c;
    struct command_entry e;
    cursor_init(&c, data, size);
    int err = command_entry_decode(&c, &e);
    ensure(err == 0 || err == ERR_TORN || err == ERR_CORRUPT || err == ERR_NOT_FOUND);
    if (err != 0)
        return;
    ensure(e.n <= COMMAND_ENTRY_MAX);
    ensure(size % 8 == 0 && size <= COMMAND_ENTRY_BYTES_MAX);
    for (uint32_t i = 0; i < e.n && one(&c, again); i++)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf again;
    buf_init(&again, COMMAND_BYTES_MAX);
    entry(data, size, &again);
    struct cursor c;
    cursor_init(&c, data, size);
    while (one(&c, &again))
        ;
    buf_fini(&again);
    return 0;
}
