"""An initiator and a consumer with Django.

pip install 'aftercommit[django]'
python manage.py migrate
python manage.py runserver 9000
python manage.py register http://127.0.0.1:9000             # once: tells the service where to ask
aftercommit worker shop.consumers:consumer                  # in another terminal
curl -X POST localhost:9000/orders -H 'content-type: application/json' -d '{"number": 42}'
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(sys.argv)
