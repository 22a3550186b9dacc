// SPDX-License-Identifier: BSD-3-Clause

#include <librpma.h>
#include <stdio.h>

int main(void)
{
	struct rpma_peer_cfg *cfg = NULL;

	puts(rpma_err_2str(rpma_peer_cfg_delete(&cfg)));
	return 0;
}
