/* Any bytes as the value of an address field. Checked: every address given is plain and, parsed again, gives
 * exactly itself: so one form for one mailbox. */
#include "base/ensure.h"
#include "base/err.h"
#include "base/text.h"
#include "node/mail/address.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check_same(void *ctx, struct span address)
{
    struct span *want = ctx;
    ensure(want->p != NULL);
    ensure(span_eq(address, *want));
    want->p = NULL;
    return 0;
}

static int check(void *ctx, struct span address)
{
    (void)ctx;
    struct span want = address;
    ensure(address.n <= MAIL_ADDRESS_MAX);
    ensure(text_utf8_valid(address));
    ensure(memchr(address.p, '@', address.n) != NULL);
    for (size_t i = 0; i < address.n; i++)
        ensure((unsigned char)address.p[i] >= ' ' && address.p[i] != 0x7f);
    ensure(mail_address_each(address, check_same, &want) == 0);
    ensure(want.p == NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int err = mail_address_each(span_of(data, size), check, NULL);
    ensure(err == 0 || err == ERR_BAD);
    return 0;
}
