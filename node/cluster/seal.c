/* Secrets of the cluster, encrypted: see seal.h. */
#include "node/cluster/seal.h"

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "node/cluster/identity_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 1
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define FILE_MAX (SEAL_KEYS_MAX * 96)

/* ---- keys -----------------------------------------------------------------------------------------------
 */

void seal_key_take(uint64_t number, const uint8_t bytes[SEAL_KEY_BYTES], struct seal_key *out)
{
    static const char label[] = "turnpike sealing key";
    uint8_t input[sizeof label + SEAL_KEY_BYTES], sha256[EVP_MAX_MD_SIZE] = { 0 };
    *out = (struct seal_key){ .number = number };
    memcpy(out->bytes, bytes, SEAL_KEY_BYTES);
    memcpy(input, label, sizeof label);
    memcpy(input + sizeof label, bytes, SEAL_KEY_BYTES);
    if (EVP_Digest(input, sizeof input, sha256, NULL, EVP_sha256(), NULL) == 1)
        memcpy(out->id, sha256, sizeof out->id);
    OPENSSL_cleanse(input, sizeof input);
}

int seal_key_make(uint64_t number, struct seal_key *out)
{
    uint8_t bytes[SEAL_KEY_BYTES];
    if (RAND_priv_bytes(bytes, sizeof bytes) != 1)
        return ERR_FAILED;
    seal_key_take(number, bytes, out);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return 0;
}

const struct seal_key *seal_keys_find(const struct seal_keys *keys, uint64_t number,
                                      const uint8_t id[SEAL_ID_BYTES])
{
    for (uint32_t i = 0; i < keys->n; i++)
        if (keys->key[i].number == number && CRYPTO_memcmp(keys->key[i].id, id, SEAL_ID_BYTES) == 0)
            return &keys->key[i];
    return NULL;
}

int seal_keys_add(struct seal_keys *keys, const struct seal_key *key)
{
    if (seal_keys_find(keys, key->number, key->id) != NULL)
        return 0;
    if (keys->n == SEAL_KEYS_MAX)
        return ERR_LIMIT;
    keys->key[keys->n++] = *key;
    return 0;
}

void seal_keys_wipe(struct seal_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof *keys);
}

/* ---- encryption -----------------------------------------------------------------------------------------
 */

/* format, nonce, what is encrypted, tag. */
int seal_put(const struct seal_key *key, struct span about, struct span plain, struct buf *out)
{
    uint8_t nonce[NONCE_BYTES], tag[TAG_BYTES], format = FORMAT;
    int n = 0, end = 0, ignored = 0;
    size_t start = out->len;
    if (RAND_bytes(nonce, sizeof nonce) != 1)
        return ERR_FAILED;
    int err = buf_reserve(out, 1 + NONCE_BYTES + plain.n + TAG_BYTES);
    if (err != 0)
        return err;
    (void)buf_put_u8(out, format);
    (void)buf_put(out, nonce, sizeof nonce);
    unsigned char *to = (unsigned char *)out->data + out->len;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool good = ctx != NULL && EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key->bytes, nonce, NULL) == 1 &&
                EVP_EncryptUpdate(ctx, NULL, &ignored, (const unsigned char *)about.p, (int)about.n) == 1 &&
                EVP_EncryptUpdate(ctx, to, &n, (const unsigned char *)plain.p, (int)plain.n) == 1 &&
                EVP_EncryptFinal_ex(ctx, to + n, &end) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, sizeof tag, tag) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!good) {
        out->len = start;
        return ERR_FAILED;
    }
    out->len += (size_t)n + (size_t)end;
    return buf_put(out, tag, sizeof tag);
}

int seal_open(const struct seal_key *key, struct span about, struct span sealed, struct buf *out)
{
    if (sealed.n <= 1 + NONCE_BYTES + TAG_BYTES || sealed.n > (1u << 20) || (uint8_t)sealed.p[0] != FORMAT)
        return ERR_DENIED;
    struct span inside = span_of(sealed.p + 1 + NONCE_BYTES, sealed.n - 1 - NONCE_BYTES - TAG_BYTES);
    uint8_t tag[TAG_BYTES];
    int n = 0, end = 0, ignored = 0;
    memcpy(tag, inside.p + inside.n, sizeof tag);
    int err = buf_reserve(out, inside.n);
    if (err != 0)
        return err;
    unsigned char *to = (unsigned char *)out->data + out->len;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool good = ctx != NULL &&
                EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), key->bytes, (const unsigned char *)sealed.p + 1,
                                    NULL) == 1 &&
                EVP_DecryptUpdate(ctx, NULL, &ignored, (const unsigned char *)about.p, (int)about.n) == 1 &&
                EVP_DecryptUpdate(ctx, to, &n, (const unsigned char *)inside.p, (int)inside.n) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1 &&
                EVP_DecryptFinal_ex(ctx, to + n, &end) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!good) {
        OPENSSL_cleanse(to, inside.n);
        return ERR_DENIED;
    }
    out->len += (size_t)n + (size_t)end;
    return 0;
}

/* ---- the file -------------------------------------------------------------------------------------------
 */

static int parse_line(struct span line, struct seal_keys *out)
{
    const char *blank = memchr(line.p, ' ', line.n);
    uint64_t number;
    uint8_t bytes[SEAL_KEY_BYTES];
    struct seal_key key;
    if (blank == NULL || text_u64(span_of(line.p, (size_t)(blank - line.p)), &number) != 0 || number == 0)
        return ERR_BAD;
    struct span hex = span_sub(line, (size_t)(blank - line.p) + 1);
    bool good = hex.n == 2 * sizeof bytes;
    for (size_t i = 0; good && i < sizeof bytes; i++) {
        int high = text_hex_value(hex.p[2 * i]), low = text_hex_value(hex.p[2 * i + 1]);
        good = high >= 0 && low >= 0;
        bytes[i] = (uint8_t)((unsigned)high << 4 | ((unsigned)low & 15));
    }
    int err = ERR_BAD;
    if (good) {
        seal_key_take(number, bytes, &key);
        err = seal_keys_add(out, &key) == 0 ? 0 : ERR_BAD;
        OPENSSL_cleanse(&key, sizeof key);
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    return err;
}

int seal_keys_parse(struct span text, struct seal_keys *out)
{
    *out = (struct seal_keys){ 0 };
    int err = 0;
    while (err == 0 && text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        err = end == NULL ? ERR_BAD : parse_line(span_of(text.p, (size_t)(end - text.p)), out);
        text = end == NULL ? span_sub(text, text.n) : span_sub(text, (size_t)(end - text.p) + 1);
    }
    if (err != 0)
        seal_keys_wipe(out);
    return err;
}

int seal_keys_format(const struct seal_keys *keys, struct buf *out)
{
    for (uint32_t i = 0; i < keys->n; i++) {
        (void)buf_printf(out, "%llu ", (unsigned long long)keys->key[i].number);
        for (size_t k = 0; k < SEAL_KEY_BYTES; k++)
            (void)buf_printf(out, "%02x", keys->key[i].bytes[k]);
        (void)buf_put_char(out, '\n');
    }
    return buf_err(out);
}

int seal_keys_load(const char *dir, struct seal_keys *out, struct buf *why)
{
    struct buf text;
    int fd;
    *out = (struct seal_keys){ 0 };
    int err = identity_open(dir, &fd, why);
    if (err != 0)
        return err == ERR_NOT_FOUND ? 0 : err;
    buf_init(&text, FILE_MAX);
    err = identity_read(fd, dir, SEAL_FILE, true, &text, why);
    if (err == 0 && seal_keys_parse(buf_span(&text), out) != 0)
        err = identity_say(why, ERR_CORRUPT, dir, SEAL_FILE, "not what this program writes");
    identity_wipe(&text);
    buf_fini(&text);
    close(fd);
    return err == ERR_NOT_FOUND ? 0 : err;
}

int seal_keys_save(const char *dir, const struct seal_keys *keys, struct buf *why)
{
    struct buf text;
    int fd;
    int err = identity_open(dir, &fd, why);
    if (err != 0)
        return err;
    buf_init(&text, FILE_MAX);
    /* the whole room at once: growing would leave copies in freed memory */
    err = buf_reserve(&text, FILE_MAX);
    if (err == 0)
        err = seal_keys_format(keys, &text);
    if (err == 0)
        err = file_write_synced(fd, SEAL_FILE ".new", buf_span(&text));
    if (err == 0 && (renameat(fd, SEAL_FILE ".new", fd, SEAL_FILE) != 0 || fsync(fd) != 0))
        err = -errno;
    if (err != 0)
        identity_say(why, err, dir, SEAL_FILE, err_text(err));
    identity_wipe(&text);
    buf_fini(&text);
    close(fd);
    return err;
}
