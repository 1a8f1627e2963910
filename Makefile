# SPDX-License-Identifier: Apache-2.0
# A thin front for meson: "make" builds build/squib. See README.md for the other words.

BUILD  ?= build
PREFIX ?= /usr/local
MESON   = meson

.PHONY: all demo check bench install clean setup

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@scripts/setup-packages.sh build
	@$(MESON) setup $(BUILD) --buildtype=release --optimization=2 --prefix=$(PREFIX) -Dtests=disabled >$(BUILD).log 2>&1 \
		|| { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

# A real Linux guest, configured and booted through the API socket.
demo:
	@scripts/setup-packages.sh build guest demo
	@$(MAKE) --no-print-directory all
	@guest/make-guest.sh $$(uname -m) build/guest/$$(uname -m)
	@scripts/demo.sh

# Every test, with sanitizers; ends with a line "N passed, N failed".
check:
	@scripts/setup-packages.sh build guest check
	@scripts/check.sh

bench: all
	@scripts/setup-packages.sh build guest bench
	@tests/bench/run

# FIRECRACKER_LINKS=1 adds a hard link under the name that clients of Firecracker look for.
install: all
	@DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD) --no-rebuild --quiet
ifneq ($(FIRECRACKER_LINKS),)
	@ln -f $(DESTDIR)$(PREFIX)/bin/squib $(DESTDIR)$(PREFIX)/bin/firecracker
endif

clean:
	@rm -rf $(BUILD) build-*
