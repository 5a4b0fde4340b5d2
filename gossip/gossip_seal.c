/* One direction of a connection, sealed: AES-256-GCM with a number that counts records. */
#include "gossip/gossip_seal.h"

#include "base/err.h"
#include "gossip/gossip_frame.h"

#include <errno.h>

int gossip_seal_init(struct gossip_seal *s, const uint8_t key[GOSSIP_SEAL_KEY_BYTES],
                     const uint8_t iv[GOSSIP_SEAL_IV_BYTES], bool sealing)
{
    *s = (struct gossip_seal){ .ctx = EVP_CIPHER_CTX_new() };
    if (s->ctx == NULL)
        return -ENOMEM;
    memcpy(s->iv, iv, sizeof s->iv);
    return EVP_CipherInit_ex(s->ctx, EVP_aes_256_gcm(), NULL, key, NULL, sealing) == 1 ? 0 : ERR_FAILED;
}

void gossip_seal_fini(struct gossip_seal *s)
{
    EVP_CIPHER_CTX_free(s->ctx);
    *s = (struct gossip_seal){ 0 };
}

static void put_be(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] ^= (uint8_t)(v >> (8 * (n - 1 - i)));
}

/* As RFC 8446 5.3: the record's number, over the connection's IV. The length is sealed in as well. */
static int start(struct gossip_seal *s, size_t n, uint8_t length[GOSSIP_LENGTH_BYTES])
{
    uint8_t nonce[GOSSIP_SEAL_IV_BYTES];
    memcpy(nonce, s->iv, sizeof nonce);
    put_be(nonce + sizeof nonce - sizeof s->seq, s->seq++, sizeof s->seq);
    for (size_t i = 0; i < GOSSIP_LENGTH_BYTES; i++)
        length[i] = (uint8_t)(n >> (8 * i));
    int done;
    if (EVP_CipherInit_ex(s->ctx, NULL, NULL, NULL, nonce, -1) != 1 ||
        EVP_CipherUpdate(s->ctx, NULL, &done, length, GOSSIP_LENGTH_BYTES) != 1)
        return ERR_FAILED;
    return 0;
}

int gossip_seal_put(struct gossip_seal *s, struct span head, struct span payload, struct buf *out)
{
    size_t n = head.n + payload.n + GOSSIP_TAG_BYTES;
    int err = buf_reserve(out, GOSSIP_LENGTH_BYTES + n);
    if (err != 0)
        return err;
    uint8_t *p = (uint8_t *)out->data + out->len;
    err = start(s, n, p);
    if (err != 0)
        return err;
    p += GOSSIP_LENGTH_BYTES;
    int head_done = 0, payload_done = 0, rest = 0;
    if (EVP_CipherUpdate(s->ctx, p, &head_done, (const uint8_t *)head.p, (int)head.n) != 1 ||
        (payload.n > 0 && EVP_CipherUpdate(s->ctx, p + head_done, &payload_done, (const uint8_t *)payload.p,
                                           (int)payload.n) != 1) ||
        EVP_CipherFinal_ex(s->ctx, p + head_done + payload_done, &rest) != 1 ||
        EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_GET_TAG, GOSSIP_TAG_BYTES, p + head.n + payload.n) != 1)
        return ERR_FAILED;
    out->len += GOSSIP_LENGTH_BYTES + n;
    return 0;
}

int gossip_seal_open(struct gossip_seal *s, uint8_t *record, size_t n, struct span *plain)
{
    if (n < GOSSIP_TAG_BYTES)
        return ERR_DENIED;
    uint8_t length[GOSSIP_LENGTH_BYTES];
    int err = start(s, n, length);
    if (err != 0)
        return err;
    size_t body = n - GOSSIP_TAG_BYTES;
    int done = 0, rest = 0;
    if ((body > 0 && EVP_CipherUpdate(s->ctx, record, &done, record, (int)body) != 1) ||
        EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_SET_TAG, GOSSIP_TAG_BYTES, record + body) != 1 ||
        EVP_CipherFinal_ex(s->ctx, record + done, &rest) != 1)
        return ERR_DENIED;
    *plain = span_of(record, body);
    return 0;
}
