/* The accounts file and imports: what is taken is canonical, and can be written and read back as the same. */
#include "base/ensure.h"
#include "node/auth/accounts.h"
#include "node/auth/line.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct account_table *t, *again;
    struct buf why, text;
    buf_init(&why, 1 << 20);
    buf_init(&text, 64 << 20);
    if (account_table_parse("fuzz", span_of(data, size), &t, &why) != 0) {
        ensure(why.len > 0);
        buf_fini(&why);
        return 0;
    }
    for (uint32_t i = 0; i < account_table_len(t); i++) {
        const struct account *a = account_table_at(t, i);
        char name[ACCOUNT_NAME_MAX + 1];
        ensure(account_name_canonical(span_str(a->name), name) == 0);
        ensure(strcmp(name, a->name) == 0);
        ensure(account_table_find(t, span_str(name)) == a);
        account_line_put(&text, a);
        buf_put_char(&text, '\n');
    }
    ensure(account_table_parse("again", buf_span(&text), &again, &why) == 0);
    ensure(account_table_len(again) == account_table_len(t));
    for (uint32_t i = 0; i < account_table_len(t); i++) {
        const struct account *a = account_table_at(t, i), *b = account_table_at(again, i);
        ensure(strcmp(a->hash, b->hash) == 0 && strcmp(a->tenant, b->tenant) == 0);
        ensure(strcmp(a->senders, b->senders) == 0 && a->class == b->class && a->disabled == b->disabled);
    }
    account_table_rele(t);
    account_table_rele(again);
    buf_fini(&why);
    buf_fini(&text);
    return 0;
}
