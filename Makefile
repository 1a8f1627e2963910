# SPDX-License-Identifier: Apache-2.0
# A thin front for meson: "make" builds build/squib. See README.md for the other words.

# With the architecture of another machine, build-$(ARCH) is what is built, by a cross compiler.
HOST   := $(shell uname -m)
ARCH   ?= $(HOST)
BUILD  ?= $(if $(filter $(HOST),$(ARCH)),build,build-$(ARCH))
PREFIX ?= /usr/local
MESON   = meson
CONFIGURE = $(MESON) setup --buildtype=release --optimization=2 --prefix=$(PREFIX) -Dtests=disabled $(MESON_ARGS)

# The guests' kernels are built by make, too, and mean something else by ARCH.
MAKEOVERRIDES =
unexport ARCH

.PHONY: all lib demo check lab bench install clean

# Two build directories: the program is small and quick to start with musl (without it glibc
# serves), libsquib is for programs with the system's C library.
ifeq ($(ARCH),$(HOST))
PACKAGES = build
WITH_MUSL = CC=$$(command -v musl-gcc || echo cc) $(CONFIGURE)
WITH_GLIBC = $(CONFIGURE)
else
PACKAGES = build cross
WITH_MUSL = sysroot=$$(scripts/sysroot.sh $(ARCH)) || exit 1; $(CONFIGURE) --cross-file $$sysroot/musl.ini
WITH_GLIBC = sysroot=$$(scripts/sysroot.sh $(ARCH)) || exit 1; $(CONFIGURE) --cross-file $$sysroot/glibc.ini
endif
# The tests on x86_64 take in aarch64.
FOREIGN = $(if $(filter x86_64,$(HOST)),cross)

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

lib: $(BUILD)-lib/build.ninja
	@ninja -C $(BUILD)-lib

$(BUILD)/build.ninja:
	@scripts/setup-packages.sh $(PACKAGES)
	@$(WITH_MUSL) $(BUILD) -Dlibrary=false >$(BUILD).log 2>&1 \
		|| { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

$(BUILD)-lib/build.ninja:
	@scripts/setup-packages.sh $(PACKAGES)
	@$(WITH_GLIBC) $(BUILD)-lib -Dprogram=false >$(BUILD)-lib.log 2>&1 \
		|| { cat $(BUILD)-lib.log; exit 1; }
	@rm -f $(BUILD)-lib.log

# A real Linux guest, configured and booted through the API socket.
demo: all
	@scripts/setup-packages.sh build guest demo
	@guest/make-guest.sh $$(uname -m) build/guest/$$(uname -m)
	@scripts/demo.sh

# Every test, with sanitizers; ends with a line "N passed, N failed".
check:
	@scripts/setup-packages.sh build $(FOREIGN) guest kernel lab check
	@scripts/check.sh

# The guest tests with the KVM engine, in an emulated machine where the host's KVM does not
# work. The first run builds a kernel, which takes some minutes.
lab:
	@scripts/setup-packages.sh build $(FOREIGN) guest kernel lab check
	@scripts/check.sh $(if $(filter x86_64,$(ARCH)),lab smp,lab-$(ARCH))

# What is measured outside the lab is so only where it runs at full speed.
bench: all lib
	@scripts/setup-packages.sh $(PACKAGES) guest kernel lab bench
	@guest/make-guest.sh $(ARCH) build/guest/$(ARCH)
ifeq ($(ARCH),$(HOST))
	@tests/bench/run
endif
	@guest/make-kernel.sh $(ARCH) build/guest/$(ARCH)
	@guest/make-lab.sh $(ARCH) build/guest/lab-$(ARCH)
	@ARCH=$(ARCH) tests/bench/lab
	@ARCH=$(ARCH) tests/bench/devices

# FIRECRACKER_LINKS=1 adds a hard link under the name that clients of Firecracker look for.
install: all lib
	@for dir in $(BUILD) $(BUILD)-lib; do \
		$(MESON) configure $$dir -Dprefix=$(PREFIX) && \
		DESTDIR=$(DESTDIR) $(MESON) install -C $$dir --quiet || exit 1; \
	done
ifneq ($(FIRECRACKER_LINKS),)
	@ln -f $(DESTDIR)$(PREFIX)/bin/squib $(DESTDIR)$(PREFIX)/bin/firecracker
endif

clean:
	@rm -rf $(BUILD) build-*
