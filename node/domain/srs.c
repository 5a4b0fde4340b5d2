/* The Sender Rewriting Scheme. Pure. */
#include "node/domain/srs.h"

#include "base/ensure.h"
#include "base/err.h"
#include "node/domain/name.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdio.h>

#define MAC_TEXT 8 /* 40 bits */
#define DAY_TEXT 2
#define DAYS 1024
#define DAY_S 86400
#define DAYS_DEFAULT 21

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static int base32_value(char c)
{
    const char *at = c == '\0' ? NULL : strchr(base32, toupper((unsigned char)c));
    return at == NULL ? -1 : (int)(at - base32);
}

/* ---- MAC and day --------------------------------------------------------------------------------------- */

/* Of "0" or "1" and the text, in lower case: an SRS0's MAC is none for an SRS1. */
static int mac_make(struct span key, char kind, struct span text, char out[MAC_TEXT + 1])
{
    char lower[2 * SRS_ADDRESS_MAX];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (text.n + 1 > sizeof lower)
        return ERR_LIMIT;
    lower[0] = kind;
    for (size_t i = 0; i < text.n; i++)
        lower[i + 1] = (char)tolower((unsigned char)text.p[i]);
    if (HMAC(EVP_sha256(), key.p, (int)key.n, (unsigned char *)lower, text.n + 1, digest, &n) == NULL ||
        n < 5)
        return ERR_FAILED;
    uint64_t v = 0;
    for (int i = 0; i < 5; i++)
        v = v << 8 | digest[i];
    for (int i = 0; i < MAC_TEXT; i++)
        out[i] = base32[v >> (5 * (MAC_TEXT - 1 - i)) & 31];
    out[MAC_TEXT] = '\0';
    return 0;
}

static bool mac_good(const struct srs *s, char kind, struct span text, struct span mac)
{
    bool good = false;
    char upper[MAC_TEXT], want[MAC_TEXT + 1];
    if (mac.n != MAC_TEXT)
        return false;
    for (int i = 0; i < MAC_TEXT; i++)
        upper[i] = (char)toupper((unsigned char)mac.p[i]);
    for (unsigned i = 0; i < s->nkeys; i++)
        good = (mac_make(s->keys[i], kind, text, want) == 0 && CRYPTO_memcmp(want, upper, MAC_TEXT) == 0) ||
               good;
    return good;
}

static unsigned day_of(int64_t now_s)
{
    return (unsigned)((uint64_t)now_s / DAY_S % DAYS);
}

static bool day_good(const struct srs *s, struct span day, int64_t now_s)
{
    unsigned max = s->days_max == 0 ? DAYS_DEFAULT : s->days_max;
    int high = base32_value(day.p[0]), low = base32_value(day.p[1]);
    if (high < 0 || low < 0)
        return false;
    unsigned then = (unsigned)(high * 32 + low);
    unsigned age = (day_of(now_s) + DAYS - then) % DAYS;
    return age <= max || age == DAYS - 1; /* another node's clock may be past midnight already */
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

/* At the last "@": a quoted local part may have others. */
static bool split(struct span address, struct span *local, struct span *domain)
{
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    if (at < 2 || at == address.n)
        return false;
    *local = span_of(address.p, at - 1);
    *domain = span_sub(address, at);
    return true;
}

static bool safe(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f || strchr("<>\"\\", s.p[i]) != NULL)
            return false;
    return s.n > 0;
}

/* "SRS0" or "SRS1" and one of the separators in use; SRS is any case. */
static bool tagged(struct span local, char digit)
{
    return local.n > 5 && strncasecmp(local.p, "SRS", 3) == 0 && local.p[3] == digit &&
           strchr("=+-", local.p[4]) != NULL && local.p[4] != '\0';
}

/* Up to the next "=", which goes too. */
static bool field(struct span *s, struct span *out)
{
    const char *eq = s->n == 0 ? NULL : memchr(s->p, '=', s->n);
    if (eq == NULL)
        return false;
    *out = span_of(s->p, (size_t)(eq - s->p));
    *s = span_sub(*s, out->n + 1);
    return true;
}

/* Of what snprintf wrote. */
static int fits(int n)
{
    return n < 0 || n > SRS_ADDRESS_MAX ? ERR_LIMIT : 0;
}

static int forward_first(const struct srs *s, struct span local, struct span domain, int64_t now_s,
                         char out[SRS_ADDRESS_MAX + 1])
{
    unsigned day = day_of(now_s);
    char text[SRS_ADDRESS_MAX + 1], mac[MAC_TEXT + 1];
    int n = snprintf(text, sizeof text, "%c%c=%.*s=%.*s", base32[day / 32], base32[day % 32], (int)domain.n,
                     domain.p, (int)local.n, local.p);
    int err = n > SRS_ADDRESS_MAX ? ERR_LIMIT : mac_make(s->keys[0], '0', span_str(text), mac);
    if (err != 0)
        return err;
    return fits(
        snprintf(out, SRS_ADDRESS_MAX + 1, "SRS0=%s=%s@%.*s", mac, text, (int)s->domain.n, s->domain.p));
}

/* `host` is who rewrote it first, `rest` what that one made after "SRS0". */
static int forward_again(const struct srs *s, struct span host, struct span rest,
                         char out[SRS_ADDRESS_MAX + 1])
{
    char text[SRS_ADDRESS_MAX + 1], mac[MAC_TEXT + 1];
    int n = snprintf(text, sizeof text, "%.*s=%.*s", (int)host.n, host.p, (int)rest.n, rest.p);
    int err = n > SRS_ADDRESS_MAX ? ERR_LIMIT : mac_make(s->keys[0], '1', span_str(text), mac);
    if (err != 0)
        return err;
    return fits(
        snprintf(out, SRS_ADDRESS_MAX + 1, "SRS1=%s=%s@%.*s", mac, text, (int)s->domain.n, s->domain.p));
}

static int forward(const struct srs *s, struct span address, int64_t now_s, char out[SRS_ADDRESS_MAX + 1])
{
    struct span local, domain, rest, mac, host;
    if (!split(address, &local, &domain) || memchr(domain.p, '=', domain.n) != NULL)
        return ERR_BAD; /* no domain has a "=", and it is our separator */
    if (span_eq_nocase(domain, s->domain) || !safe(address))
        return ERR_EXISTS; /* ours; or quoted, which would have to be quoted again: seen nowhere */
    if (tagged(local, '0'))
        return forward_again(s, domain, span_sub(local, 4), out);
    rest = span_sub(local, 5);
    if (tagged(local, '1') && field(&rest, &mac) && field(&rest, &host) && host.n > 0 && rest.n > 1)
        return forward_again(s, host, rest, out);
    return forward_first(s, local, domain, now_s, out);
}

int srs_forward(const struct srs *s, struct span address, int64_t now_s, char out[SRS_ADDRESS_MAX + 1])
{
    ensure(s->nkeys > 0);
    ensure(s->nkeys <= SRS_KEYS_MAX);
    out[0] = '\0';
    if (address.n == 0)
        return 0;
    if (memchr(address.p, '\0', address.n) != NULL)
        return ERR_BAD;
    int err = forward(s, address, now_s, out);
    if (err == 0)
        return 0;
    if (address.n > SRS_ADDRESS_MAX)
        return ERR_LIMIT;
    memcpy(out, address.p, address.n);
    out[address.n] = '\0';
    return err == ERR_EXISTS ? 0 : err;
}

int srs_reverse(const struct srs *s, struct span address, int64_t now_s, char out[SRS_ADDRESS_MAX + 1])
{
    struct span local, domain, mac, day, host;
    out[0] = '\0';
    if (!split(address, &local, &domain) || !span_eq_nocase(domain, s->domain))
        return ERR_NOT_FOUND;
    bool again = tagged(local, '1');
    if (!again && !tagged(local, '0'))
        return ERR_NOT_FOUND;
    struct span rest = span_sub(local, 5);
    if (!safe(address) || !field(&rest, &mac) || !mac_good(s, again ? '1' : '0', rest, mac))
        return ERR_BAD;
    if (again) {
        if (!field(&rest, &host) || !domain_name_valid(host) || rest.n == 0)
            return ERR_BAD;
        return fits(
            snprintf(out, SRS_ADDRESS_MAX + 1, "SRS0%.*s@%.*s", (int)rest.n, rest.p, (int)host.n, host.p));
    }
    if (!field(&rest, &day) || day.n != DAY_TEXT || !field(&rest, &host) || rest.n == 0)
        return ERR_BAD;
    if (!day_good(s, day, now_s))
        return ERR_TIMEOUT;
    return fits(snprintf(out, SRS_ADDRESS_MAX + 1, "%.*s@%.*s", (int)rest.n, rest.p, (int)host.n, host.p));
}
