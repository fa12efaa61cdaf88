#!/bin/sh
# Takes the pictures of docs/audit.md again, from the audit of a finished demo:
#
#   ascribe demo --out ascribe-demo && docs/screenshots.sh ascribe-demo
#
# Needs Chromium (or CHROMIUM=…). The demo's digits are the only images that may stand in this repository.
set -eu
demo=$(cd "${1:?give the folder of a demo}" && pwd)
out=$(cd "$(dirname "$0")" && pwd)
chromium=${CHROMIUM:-chromium}
[ -e "$demo/audit/index.html" ] || { echo "screenshots.sh: $demo holds no audit/index.html; run ascribe demo" >&2; exit 1; }
page=$(mktemp --suffix .html)
trap 'rm -f "$page"' EXIT

# picture NAME WIDTH HEIGHT ADDRESS…: one screen beside the other, each a frame, since a browser's window has a least width.
picture() {
	name=$1 width=$2 height=$3
	shift 3
	{
		printf '<!doctype html><style>body{margin:0;display:flex;gap:16px;background:#888}iframe{border:0;flex:none;width:%spx;height:%spx}</style>' "$width" "$height"
		for address; do printf '<iframe src="file://%s/audit/index.html#%s"></iframe>' "$demo" "$address"; done
	} >"$page"
	"$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files \
		--blink-settings=preferredColorScheme=1 --virtual-time-budget=5000 \
		--window-size=$(($# * (width + 16) - 16)),"$height" --screenshot="$out/$name.png" "file://$page" 2>/dev/null
	[ -s "$out/$name.png" ] || { echo "screenshots.sh: $chromium took no picture of $name" >&2; exit 1; }
	echo "$out/$name.png"
}

picture audit-laptop 1280 800 /query/8
picture audit-phone 390 844 /overview /query/8
picture audit-wide 1920 1080 /confusions
