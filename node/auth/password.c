/* Password hashes, by libxcrypt. Any thread; a hash takes about 15 ms and 16 MiB for that time. */
#include "base/err.h"
#include "node/auth/accounts.h"

#include <crypt.h>
#include <stdlib.h>
#include <string.h>

/* NUL-terminates a password; false: none that crypt could take. */
static bool password_copy(struct span password, char *out)
{
    if (password.n == 0 || password.n >= ACCOUNT_PASSWORD_MAX || memchr(password.p, '\0', password.n) != NULL)
        return false;
    memcpy(out, password.p, password.n);
    out[password.n] = '\0';
    return true;
}

/* crypt with its working memory wiped; `out` has ACCOUNT_HASH_MAX + 1 bytes. */
static bool hash_compute(const char *phrase, const char *setting, char *out)
{
    void *data = NULL;
    int size = 0;
    const char *hash = crypt_ra(phrase, setting, &data, &size);
    bool good = hash != NULL && hash[0] != '*' && strlen(hash) <= ACCOUNT_HASH_MAX;
    if (good)
        strcpy(out, hash);
    if (data != NULL)
        explicit_bzero(data, (size_t)size);
    free(data);
    return good;
}

int account_hash_password(struct span password, char *out)
{
    char phrase[ACCOUNT_PASSWORD_MAX];
    if (!password_copy(password, phrase))
        return ERR_BAD;
    char *setting = crypt_gensalt_ra("$y$", 0, NULL, 0);
    bool good = setting != NULL && hash_compute(phrase, setting, out);
    free(setting);
    explicit_bzero(phrase, sizeof phrase);
    return good ? 0 : ERR_FAILED;
}

/* Equal-length strings in constant time; their lengths are no secret. */
static bool same(const char *a, const char *b)
{
    size_t n = strlen(a);
    if (n != strlen(b))
        return false;
    unsigned char diff = 0;
    for (size_t i = 0; i < n; i++)
        diff = (unsigned char)(diff | (a[i] ^ b[i]));
    return diff == 0;
}

bool account_hash_verify(const char *hash, struct span password)
{
    char phrase[ACCOUNT_PASSWORD_MAX], computed[ACCOUNT_HASH_MAX + 1];
    if (!password_copy(password, phrase))
        return false;
    bool good = hash_compute(phrase, hash, computed) && same(computed, hash);
    explicit_bzero(phrase, sizeof phrase);
    explicit_bzero(computed, sizeof computed);
    return good;
}

/* The schemes of Dovecot whose hashes crypt takes as they are. */
static const char *const schemes[] = { "{CRYPT}",     "{SHA256-CRYPT}", "{SHA512-CRYPT}",
                                       "{BLF-CRYPT}", "{MD5-CRYPT}",    "{YESCRYPT}" };

bool account_hash_recognise(struct span text, struct span *hash)
{
    char setting[ACCOUNT_HASH_MAX + 1];
    struct span s = text;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        struct span scheme = span_str(schemes[i]);
        if (text.n > scheme.n && span_eq_nocase(span_of(text.p, scheme.n), scheme)) {
            s = span_sub(text, scheme.n);
            break;
        }
    }
    /* Traditional DES has no "$": eight characters of a password count, which is not worth a migration. */
    if (s.n < 20 || s.n > ACCOUNT_HASH_MAX || s.p[0] != '$')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f ||
            memchr(":;*!\\", s.p[i], 5) != NULL)
            return false;
    memcpy(setting, s.p, s.n);
    setting[s.n] = '\0';
    int check = crypt_checksalt(setting);
    if (check != CRYPT_SALT_OK && check != CRYPT_SALT_METHOD_LEGACY)
        return false;
    *hash = s;
    return true;
}
