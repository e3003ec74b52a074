# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to some addresses in turn, each on a connection of its own, until the file ``/tmp/stop`` is there.

Runs on the droplet, or in a container of it, so that it knows no library. Prints requests and failures of each address.
"""

import http.client
import json
import os
import sys
import time

results = {address: {"requests": 0, "failed": []} for address in sys.argv[1:]}
end = time.monotonic() + 120
while not os.path.exists("/tmp/stop") and time.monotonic() < end:
    for address, result in results.items():
        connection = http.client.HTTPConnection(address, timeout=15)
        result["requests"] += 1
        began = time.time()
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            if answer.status != 200 or json.loads(answer.read()) != {"status": "healthy"}:
                result["failed"].append(f"status {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            result["failed"].append(f"{began:.3f}, after {time.time() - began:.3f} s: {type(error).__name__}: {error}")
        finally:
            connection.close()
    time.sleep(0.02)
print(json.dumps(results))
