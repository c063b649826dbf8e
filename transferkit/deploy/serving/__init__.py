"""A finished run behind HTTP: a page to drop images on, and answers in JSON.

`server` opens the port; `application` is the menu of addresses; `uploads` and `reading` turn a request into pixels
within the limits; `worker` asks the model about images that come together; `explaining` says what an image is like in
training and the regions that supported the prediction.
"""
