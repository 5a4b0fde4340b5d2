/* Any bytes as what another node asks: always one JSON document with a status, and no path beyond those that
 * nodes may ask.
 */
#include "base/ensure.h"
#include "node/admin/admin.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int on_queue_list(void *ctx, const struct admin_selector *sel, const struct admin_page *page,
                         admin_row_fn *fn, void *arg, struct admin_error *e)
{
    struct admin_row row = { .id = "0000000000AA1", .sender = SPAN_LIT("a@example.com") };
    (void)ctx, (void)e;
    ensure(page->limit >= 1 && page->limit <= ADMIN_ROWS_MAX);
    if (admin_selector_match(sel, &row))
        fn(arg, &row);
    return 0;
}

static int on_track(void *ctx, const struct admin_track *q, const struct admin_page *page, admin_row_fn *fn,
                    void *arg, struct admin_track_info *info, struct admin_error *e)
{
    struct admin_row row = { .id = "0000000000AA1" };
    (void)ctx, (void)e, (void)page;
    ensure(q->id != NULL || q->message_id != NULL || q->sender != NULL || q->recipient != NULL ||
           q->account != NULL || q->state >= 0 || q->since_ms != 0 || q->until_ms != 0);
    info->off = true;
    fn(arg, &row);
    return 0;
}

static int on_summary(void *ctx, const struct admin_selector *sel, enum admin_group by, uint32_t limit,
                      admin_summary_fn *fn, void *arg, struct admin_summary_row *total, struct admin_error *e)
{
    (void)ctx, (void)sel, (void)by, (void)total, (void)e;
    ensure(limit >= 1 && limit <= ADMIN_ROWS_MAX);
    fn(arg, &(struct admin_summary_row){ .key = SPAN_LIT("x") });
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct admin_ops ops = { .queue_list = on_queue_list,
                                          .track = on_track,
                                          .queue_summary = on_summary };
    static struct admin *a;
    struct admin_error e = { "" };
    struct buf body;
    if (a == NULL)
        ensure(admin_new(&(struct admin_config){ 0 }, &ops, &a, &e) == 0);
    char *path = strndup((const char *)p, n);
    ensure(path != NULL);
    buf_init(&body, 1u << 20);
    int status = admin_answer(a, path, &body);
    ensure(status == 200 || (status >= 400 && status < 600));
    json_t *j = json_loadb(body.data, body.len, 0, NULL);
    ensure(j != NULL);
    ensure((status == 200) == (json_object_get(j, "error") == NULL));
    json_decref(j);
    buf_fini(&body);
    free(path);
    return 0;
}
